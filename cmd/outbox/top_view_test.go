package main

import (
	"strings"
	"testing"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/health"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

func watching(t *testing.T) *watch {
	t.Helper()
	tbl, err := table.In("outbox")
	if err != nil {
		t.Fatal(err)
	}
	set := setting.Defaults()
	set.Override("stream", "S", "flag --stream")
	w := &watch{monitor: &monitor{session: &session{table: tbl, set: set}}}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range 3 {
		now := at.Add(time.Duration(i) * time.Second)
		w.frames = append(w.frames, frame{
			at: now, families: map[string]float64{"users.*.updated": 7, "orders.*.placed": 9},
			slow: []slowKey{{"k\x1b[2J", 3 * time.Second, 2}, {"other", time.Second, 1}},
			snapshot: &snapshot{Facts: health.Facts{
				Now: now, Name: "S", Stream: &health.Stream{Last: 1000},
				Status:    table.Status{Leader: "me", Acked: int64(100 * i), Pending: int64(10 * i), Lag: time.Duration(i) * time.Second},
				Rates:     table.Rates{Now: now, AckedAt: now},
				Consumers: []health.Consumer{{Name: "invalidate-now", Floor: uint64(50 * i)}},
			}},
		})
	}
	return w
}

// The view has the rates between readings and fits its screen, and no text of an event moves the cursor.
func TestTopView(t *testing.T) {
	w := watching(t)
	view := w.view(60, 24)
	for _, want := range []string{"in 110.0/s  out 100.0/s", "▁▄█ of 2s", "invalidate-now  0        0        50.0", "SLOWEST KEY", "k?[2J", "q quit"} {
		if !strings.Contains(view, want) {
			t.Errorf("no %q in\n%s", want, view)
		}
	}
	if orders := strings.Index(view, "orders.*.placed"); orders < 0 || orders > strings.Index(view, "users.*.updated") {
		t.Errorf("subjects are not ordered by rate:\n%s", view)
	}
	if lines := strings.Split(w.view(40, 10), "\r\n"); len(lines) != 10 || !strings.HasPrefix(lines[9], "q quit") {
		t.Errorf("%d lines, want 10, the last with the keys: %q", len(lines), lines)
	}
	for line := range strings.SplitSeq(w.view(40, 24), "\r\n") {
		if line = strings.TrimSuffix(line, "\x1b[K"); len([]rune(line)) > 40 || strings.Contains(line, "\x1b") {
			t.Errorf("line %q", line)
		}
	}
}

func TestTopKeys(t *testing.T) {
	w := watching(t)
	for _, key := range "/users" {
		if w.key(t.Context(), byte(key)) {
			t.Fatalf("key %q quits", key)
		}
	}
	if !strings.Contains(w.view(80, 24), "filter: users_") || strings.Contains(w.view(80, 24), "orders") {
		t.Errorf("filtered:\n%s", w.view(80, 24))
	}
	w.key(t.Context(), 127)
	w.key(t.Context(), '\r')
	if w.filter != "user" || w.typing {
		t.Errorf("filter %q, typing %v", w.filter, w.typing)
	}
	if w.key(t.Context(), 'p'); w.ask != "pause" {
		t.Error("p does not ask")
	}
	if quit := w.key(t.Context(), 'q'); quit || w.ask != "" || w.notice != "" {
		t.Errorf("another key than y answers: %v, %q, %q", quit, w.ask, w.notice)
	}
	if !w.key(t.Context(), 'q') || !w.key(t.Context(), 3) {
		t.Error("q and Ctrl-C do not quit")
	}
}

func TestFamily(t *testing.T) {
	for subject, want := range map[string]string{"users.42.updated": "users.*.updated", "a": "a", "x.9f-3.y2": "x.*.*"} {
		if got := family(subject); got != want {
			t.Errorf("family(%q) = %q, want %q", subject, got, want)
		}
	}
}
