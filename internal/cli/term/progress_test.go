package term

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

// A stopwatch is a clock that a test sets.
type stopwatch struct{ at time.Time }

func (w *stopwatch) now() time.Time { return w.at }

func clockedProgress(width int) (p *Progress, clock *stopwatch, out *bytes.Buffer) {
	clock, out = &stopwatch{time.Unix(1e9, 0)}, &bytes.Buffer{}
	p = NewProgress(out, "copied")
	p.now, p.printed = clock.now, clock.at
	if width > 0 {
		p.width = func() int { return width }
	}
	return p, clock, out
}

// A terminal of any width gets one line that fits, without color, and the bar only where there is room.
func TestProgressFitsTheTerminal(t *testing.T) {
	for width := 1; width <= 200; width++ {
		for _, note := range []string{"", "paused by 李雷: \x1b[31m午休時間を取っています" + strings.Repeat(" very long", 30)} {
			p, clock, out := clockedProgress(width)
			for i := range int64(40) {
				clock.at = clock.at.Add(drawEvery)
				p.Show(i*50, 4000, i*25)
			}
			p.Wait(note)
			clock.at = clock.at.Add(drawEvery)
			p.Show(2000, 4000, 1000)
			p.End()
			drawn := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\r")
			last := drawn[len(drawn)-1]
			for _, line := range drawn[1:] {
				line = strings.TrimSuffix(line, "\x1b[K")
				if n := cells(line); n >= max(width, 2) || strings.ContainsAny(line, "\x1b\n") {
					t.Fatalf("width %d: %q takes %d columns", width, line, n)
				}
			}
			switch {
			case note != "" || width < 10:
			case width < 40 && !strings.HasPrefix(last, " 50%  1000"[:min(width-1, 10)]):
				t.Fatalf("width %d: %q", width, last)
			case width >= 80 && last != "["+strings.Repeat("#", 15)+strings.Repeat(".", 15)+"]  50%  1000 copied, 250/s, ETA 4s\x1b[K":
				t.Fatalf("width %d: %q", width, last)
			}
		}
	}
}

// Elsewhere a line is printed every five seconds, with the rate of the last ten seconds.
func TestProgressLines(t *testing.T) {
	p, clock, out := clockedProgress(0)
	seen := int64(0)
	for second := range 30 {
		if seen += 100; second >= 10 {
			seen += 100
		}
		clock.at = clock.at.Add(time.Second)
		p.Show(seen, 20_000, seen/2)
	}
	p.End()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 6 || lines[0] != "500 of 20000 scanned (2%), 250 copied, 50/s, ETA 3m15s" || lines[5] != "5000 of 20000 scanned (25%), 2500 copied, 100/s, ETA 1m15s" {
		t.Errorf("%d lines:\n%s", len(lines), out.String())
	}

	// The reason for a wait is printed at once, then every five seconds. The wait does not lower the rate.
	p, clock, out = clockedProgress(0)
	for n := range 21 {
		p.Wait(fmt.Sprintf("%d events wait", n))
		clock.at = clock.at.Add(500 * time.Millisecond)
	}
	p.Wait("")
	p.Show(100, 400, 100)
	clock.at = clock.at.Add(5 * time.Second)
	p.Show(200, 400, 200)
	want := "0 scanned, 0 copied, 0 events wait\n0 scanned, 0 copied, 10 events wait\n0 scanned, 0 copied, 20 events wait\n200 of 400 scanned (50%), 200 copied, 20/s, ETA 10s\n"
	if out.String() != want {
		t.Errorf("got:\n%swant:\n%s", out.String(), want)
	}
}

// Values that are unknown are left out.
func TestProgressWithoutTotal(t *testing.T) {
	p, clock, out := clockedProgress(80)
	clock.at = clock.at.Add(time.Second)
	p.Show(10, 0, 10)
	clock.at = clock.at.Add(time.Second)
	p.Show(30, 20, 30) // a total that was an estimate
	p.End()
	if got := out.String(); !strings.HasPrefix(got, "\r10 copied\x1b[K") || !strings.HasSuffix(got, "] 100%  30 copied, 20/s\x1b[K\n") {
		t.Errorf("%q", got)
	}
}
