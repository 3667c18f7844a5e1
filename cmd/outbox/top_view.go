package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/dial"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/redact"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
	"github.com/seed-6eff6314/outbox-relay/internal/health"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

const (
	topFrames   = 60               // in the sparkline
	topRecent   = 5000             // events whose subjects are counted, at most
	topSpan     = 10 * time.Second // age of those events, at most
	topBacklog  = 500              // pending events whose keys are compared
	topListed   = 8                // rows of each list
	sparkLevels = "▁▂▃▄▅▆▇█"
)

// A frame is one reading.
type frame struct {
	at       time.Time
	snapshot *snapshot // nil: err is the reason
	err      error
	families map[string]float64 // events per second
	slow     []slowKey
}

type slowKey struct {
	key    string
	waits  time.Duration
	events int
}

func (w *watch) last() *frame { return &w.frames[len(w.frames)-1] }

// capture takes one more frame. An error is shown, and the next reading tries again.
func (w *watch) capture(ctx context.Context) {
	f := frame{at: time.Now(), families: make(map[string]float64)}
	f.snapshot, f.err = w.read(ctx)
	if f.err == nil {
		f.err = w.fill(ctx, &f)
	}
	w.frames = append(w.frames, f)
	if len(w.frames) > topFrames {
		w.frames = w.frames[1:]
	}
}

// fill reads subjects and slow keys.
func (w *watch) fill(ctx context.Context, f *frame) error {
	ctx, cancel := dial.Within(ctx)
	defer cancel()
	oldest := f.at
	n, err := w.table.RecentEvents(ctx, w.pool, f.at.Add(-topSpan), topRecent, func(_ int64, e *event.Event) bool {
		f.families[family(e.Subject)]++
		oldest = e.CreatedAt
		return true
	})
	if err != nil {
		return err
	}
	span := topSpan
	if n == topRecent {
		span = max(f.at.Sub(oldest), time.Millisecond)
	}
	for name := range f.families {
		f.families[name] /= span.Seconds()
	}
	if f.snapshot.Status.Planned > f.snapshot.Status.Acked {
		f.slow, err = w.slowest(ctx, f)
	}
	return err
}

// slowest finds the keys whose events have waited longest for the stream.
func (w *watch) slowest(ctx context.Context, f *frame) ([]slowKey, error) {
	events, err := w.table.Load(ctx, w.pool, f.snapshot.Status.Acked+1, table.Page{Events: topBacklog, Bytes: 1 << 20})
	if err != nil {
		return nil, err
	}
	found := make(map[string]*slowKey)
	for i := range events {
		e := &events[i]
		if e.Key == "" || e.Parked != "" {
			continue
		}
		if found[e.Key] == nil {
			found[e.Key] = &slowKey{key: e.Key, waits: f.snapshot.Rates.Now.Sub(e.CreatedAt)}
		}
		found[e.Key].events++
	}
	list := slices.SortedFunc(maps.Values(found), func(a, b *slowKey) int {
		return cmp.Or(cmp.Compare(b.waits, a.waits), strings.Compare(a.key, b.key))
	})
	var out []slowKey
	for _, k := range list {
		out = append(out, *k)
	}
	return out, nil
}

// family is a subject with * for each token that has a digit, so that the subjects of all rows of a table are one.
func family(subject string) string {
	tokens := strings.Split(subject, ".")
	for i, token := range tokens {
		if strings.ContainsAny(token, "0123456789") {
			tokens[i] = "*"
		}
	}
	return strings.Join(tokens, ".")
}

// rates are the committed and acknowledged events per second between the last two readings, and the acknowledged
// messages per second of each consumer.
func (w *watch) rates() (in, out float64, acked map[string]float64) {
	acked = make(map[string]float64)
	now := w.last()
	if now.snapshot == nil {
		return 0, 0, acked
	}
	in, out = now.snapshot.Rates.In, now.snapshot.Rates.Out
	if len(w.frames) < 2 {
		return in, out, acked
	}
	before := &w.frames[len(w.frames)-2]
	if before.snapshot == nil {
		return in, out, acked
	}
	seconds := now.snapshot.Rates.Now.Sub(before.snapshot.Rates.Now).Seconds()
	if seconds <= 0 {
		return in, out, acked
	}
	a, b := &before.snapshot.Status, &now.snapshot.Status
	out = float64(max(b.Acked-a.Acked, 0)) / seconds
	in = max(float64(b.Acked-a.Acked+b.Pending-a.Pending)/seconds, 0)
	floors := make(map[string]uint64)
	for _, k := range before.snapshot.Consumers {
		floors[k.Name] = k.Floor
	}
	for _, k := range now.snapshot.Consumers {
		if floor, ok := floors[k.Name]; ok && k.Floor >= floor {
			acked[k.Name] = float64(k.Floor-floor) / seconds
		}
	}
	return in, out, acked
}

func (w *watch) verdict() health.Verdict {
	f := w.last()
	if f.snapshot == nil {
		return health.Verdict{State: "unknown", Detail: redact.Text(f.err.Error()), Next: "outbox doctor"}
	}
	return health.Assess(&f.snapshot.Facts, health.Limits{})
}

// line is a reading in one line.
func (w *watch) line() string {
	f, v := w.last(), w.verdict()
	text := f.at.Format("2006-01-02 15:04:05 ") + v.State
	if f.snapshot == nil {
		return text + ": " + v.Detail
	}
	in, out, acked := w.rates()
	text += fmt.Sprintf(" in=%.1f/s out=%.1f/s pending=%d lag=%.1fs", in, out, f.snapshot.Status.Pending, f.snapshot.Status.Lag.Seconds())
	for i := range f.snapshot.Consumers {
		if k := &f.snapshot.Consumers[i]; w.shows(k.Name) {
			text += fmt.Sprintf(" %s=%d,%.1f/s", k.Name, k.Pending+uint64(k.AckPending), acked[k.Name])
		}
	}
	return text
}

func (w *watch) shows(text string) bool { return strings.Contains(text, w.filter) }

// view is the screen as text, cut to its size.
func (w *watch) view(width, height int) string {
	var b strings.Builder
	v, f := w.verdict(), w.last()
	fmt.Fprintf(&b, "outbox top  stream %s  schema %s  %s\n", w.set.Text("stream"), w.table.Schema(), f.at.Format("15:04:05"))
	fmt.Fprintf(&b, "%s: %s\n", v.State, v.Detail)
	if v.Next != "" {
		fmt.Fprintf(&b, "next: %s\n", v.Next)
	}
	b.WriteByte('\n') //nolint:errcheck // a Builder never fails
	if f.snapshot != nil {
		w.body(&b, f)
	}
	return fit(b.String(), w.footer(), width, height)
}

func (w *watch) body(b *strings.Builder, f *frame) {
	in, out, acked := w.rates()
	s := &f.snapshot.Status
	fmt.Fprintf(b, "in %.1f/s  out %.1f/s  pending %d  parked %d  dead letters %d  leader %s\n", in, out, s.Pending, s.Parked, f.snapshot.Dead, cmp.Or(s.Leader, "none"))
	fmt.Fprintf(b, "lag %-8s %s\n\n", s.Lag.Round(time.Millisecond), w.spark())
	t := tabwriter.NewWriter(b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "CONSUMER\tPENDING\tUNACKED\tACKS/S") //nolint:errcheck // a Builder never fails
	for i := range f.snapshot.Consumers {
		k := &f.snapshot.Consumers[i]
		if !w.shows(k.Name) {
			continue
		}
		note := ""
		if k.PausedUntil != nil {
			note = "paused"
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%.1f\t%s\n", k.Name, k.Pending, k.AckPending, acked[k.Name], note)
	}
	fmt.Fprintln(t, "\nSUBJECT\tEVENTS/S") //nolint:errcheck
	names := slices.SortedFunc(maps.Keys(f.families), func(a, b string) int {
		return cmp.Or(cmp.Compare(f.families[b], f.families[a]), strings.Compare(a, b))
	})
	names = slices.DeleteFunc(names, func(name string) bool { return !w.shows(name) })
	for _, name := range names[:min(topListed, len(names))] {
		fmt.Fprintf(t, "%s\t%.1f\n", term.Plain(name), f.families[name])
	}
	fmt.Fprintln(t, "\nSLOWEST KEY\tLAG\tEVENTS") //nolint:errcheck
	shown := 0
	for _, k := range f.slow {
		if shown < topListed && w.shows(k.key) {
			shown++
			fmt.Fprintf(t, "%s\t%s\t%d\n", term.Plain(k.key), k.waits.Round(time.Millisecond), k.events)
		}
	}
	t.Flush() //nolint:errcheck
}

// spark draws the lag of the last readings, each relative to the longest of them.
func (w *watch) spark() string {
	longest := time.Second
	for i := range w.frames {
		if s := w.frames[i].snapshot; s != nil {
			longest = max(longest, s.Status.Lag)
		}
	}
	levels := []rune(sparkLevels)
	var out []rune
	for i := range w.frames {
		if s := w.frames[i].snapshot; s == nil {
			out = append(out, ' ')
		} else {
			out = append(out, levels[int(s.Status.Lag*time.Duration(len(levels)-1)/longest)])
		}
	}
	return string(out) + " of " + longest.Round(time.Millisecond).String()
}

func (w *watch) footer() string {
	switch {
	case w.typing:
		return "filter: " + w.filter + "_  (enter keeps it, escape clears it)"
	case w.ask != "":
		return w.ask + " the relay? y or n"
	case w.notice != "":
		return w.notice
	case w.filter != "":
		return "q quit  / filter (" + w.filter + ")  p pause  r resume"
	}
	return "q quit  / filter  p pause  r resume"
}

// fit cuts lines to a width, and the text to a height with the footer in the last line.
func fit(text, footer string, width, height int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	lines = append(lines[:min(len(lines), height-2)], "", footer)
	for i, line := range lines {
		if utf8.RuneCountInString(line) > width {
			lines[i] = term.Clip(line, width)
		}
		lines[i] += "\x1b[K"
	}
	return strings.Join(lines, "\r\n")
}
