package demo

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/seed-6eff6314/outbox-relay/internal/report"
)

func TestReportNamesBrokenPromises(t *testing.T) {
	t.Parallel()
	r := Report{
		DurationS: 30, Transactions: 12034, History: 12034, Unchanged: 1, Committed: 12033, Published: 12031, Invalidated: 12033, Echoed: 12033, EchoS: 3,
		Lost: 2, StaleKeys: 3, CachedKeys: 26120, Hits: 39000, Misses: 27000, MaxPending: 2012, CatchUpS: 0.4, RelayKills: 1, BrokerStops: 1,
		BrokerStoppedS: 5, Versions: report.Versions{Postgres: "15.18", NATS: "2.15.2", Redis: "7.0.15"},
	}
	var b strings.Builder
	if err := r.Print(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"PROMISES WERE BROKEN: 2 lost, 3 stale in the cache.", "12,033 events", "again 3.0 s after its change", "up to 2,012 events", "Try this next:"} {
		if !strings.Contains(strings.Join(strings.Fields(b.String()), " "), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	for line := range strings.Lines(b.String()) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

func TestPanelFits(t *testing.T) {
	t.Parallel()
	p := &panel{terminal: -1, backlog: make([]int64, graphWidth)}
	s := snapshot{
		began: time.Now(), elapsed: 3599 * time.Second, duration: time.Hour, phase: "NATS stopped: commits continue, backlog grows", broken: true,
		committed: 1_440_000, published: 1_430_000, pending: 10_000, lag: 25 * time.Second, tps: 400, deleted: 250_000, cached: 99_000,
		hits: 5_000_000, misses: 2_000_000, stream99: time.Second, evict9: time.Second,
	}
	for line := range strings.Lines(p.draw(s)) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
		if strings.Contains(line, "\x1b") {
			t.Errorf("colored without colors: %q", line)
		}
	}
	if got := graph([]int64{0, 50, 100, 1}); got != " ▄█▁" {
		t.Errorf("graph %q", got)
	}
}
