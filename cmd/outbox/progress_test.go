package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

// A stopwatch is a clock that a test turns.
type stopwatch struct{ at time.Time }

func (w *stopwatch) now() time.Time { return w.at }

func clockedProgress(width int) (p *progress, clock *stopwatch, out *bytes.Buffer) {
	clock, out = &stopwatch{time.Unix(1e9, 0)}, &bytes.Buffer{}
	p = newProgress(out, "copied")
	p.now, p.told = clock.now, clock.at
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
				p.show(i*50, 4000, i*25)
			}
			p.wait(note)
			clock.at = clock.at.Add(drawEvery)
			p.show(2000, 4000, 1000)
			p.end()
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

// Elsewhere there is a line every five seconds, with the speed of late and not of the whole.
func TestProgressLines(t *testing.T) {
	p, clock, out := clockedProgress(0)
	seen := int64(0)
	for second := range 30 {
		if seen += 100; second >= 10 {
			seen += 100
		}
		clock.at = clock.at.Add(time.Second)
		p.show(seen, 20_000, seen/2)
	}
	p.end()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 6 || lines[0] != "500 of 20000 looked at (2%), 250 copied, 50/s, ETA 3m15s" || lines[5] != "5000 of 20000 looked at (25%), 2500 copied, 100/s, ETA 1m15s" {
		t.Errorf("%d lines:\n%s", len(lines), out.String())
	}

	// Why it waits is told at once, but not again and again; afterwards the wait does not count as slowness.
	p, clock, out = clockedProgress(0)
	for n := range 21 {
		p.wait(fmt.Sprintf("%d events wait", n))
		clock.at = clock.at.Add(500 * time.Millisecond)
	}
	p.wait("")
	p.show(100, 400, 100)
	clock.at = clock.at.Add(5 * time.Second)
	p.show(200, 400, 200)
	want := "0 looked at, 0 copied, 0 events wait\n0 looked at, 0 copied, 10 events wait\n0 looked at, 0 copied, 20 events wait\n200 of 400 looked at (50%), 200 copied, 20/s, ETA 10s\n"
	if out.String() != want {
		t.Errorf("got:\n%swant:\n%s", out.String(), want)
	}
}

// What cannot be known is left out.
func TestProgressWithoutTotal(t *testing.T) {
	p, clock, out := clockedProgress(80)
	clock.at = clock.at.Add(time.Second)
	p.show(10, 0, 10)
	clock.at = clock.at.Add(time.Second)
	p.show(30, 20, 30) // a total that was an estimate
	p.end()
	if got := out.String(); !strings.HasPrefix(got, "\r10 copied\x1b[K") || !strings.HasSuffix(got, "] 100%  30 copied, 20/s\x1b[K\n") {
		t.Errorf("%q", got)
	}
}

func TestShellWord(t *testing.T) {
	for word, want := range map[string]string{"a-b_c/d.yaml": "a-b_c/d.yaml", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$x": "'$x'"} {
		if got := shellWord(word); got != want {
			t.Errorf("%q: %s, want %s", word, got, want)
		}
	}
	if got := (&stoppedError{again: "outbox replay --job " + uuid.Nil.String(), err: usagef(nil, "x")}); code(got) != exitUsage || hints(got)[len(hints(got))-1] != got.hint() {
		t.Error("the last line does not say how to go on")
	}
}
