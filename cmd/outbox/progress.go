package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

const (
	drawEvery  = 100 * time.Millisecond // on a terminal
	lineEvery  = 5 * time.Second        // elsewhere
	rateWindow = 10 * time.Second       // that the rate is taken from
	widestBar  = 30
)

// A progress tells on standard error how far long work is: on a terminal in one line that is drawn again, without color and never
// wider than the terminal, elsewhere with a line of its own now and then. One goroutine.
type progress struct {
	out   io.Writer
	did   string     // to events: copied, inserted
	width func() int // of the terminal; nil elsewhere
	now   func() time.Time

	seen, total, events int64
	note                string    // why it waits
	looks               []look    // of the last rateWindow, oldest first
	told                time.Time // when it last wrote, or began
	wrote               bool
}

// A look is how far the work was at a time.
type look struct {
	at           time.Time
	seen, events int64
}

func newProgress(out io.Writer, did string) *progress {
	p := &progress{out: out, did: did, now: time.Now, told: time.Now()}
	if file, ok := out.(*os.File); ok && term.IsTerminal(int(file.Fd())) && os.Getenv("TERM") != "dumb" {
		p.width = func() int {
			width, _, err := term.GetSize(int(file.Fd()))
			if err != nil || width <= 0 {
				width = 80
			}
			return width
		}
	}
	return p
}

// show tells that so much of total was looked at, by which so many events were made. Without a total there is no bar.
func (p *progress) show(seen, total, events int64) {
	p.seen, p.total, p.events = seen, total, events
	now := p.now()
	p.looks = append(p.looks, look{now, seen, events})
	for len(p.looks) > 2 && now.Sub(p.looks[1].at) > rateWindow {
		p.looks = p.looks[1:]
	}
	p.tell(false)
}

// wait tells why the work waits, or with an empty note that it goes on.
func (p *progress) wait(note string) {
	began := p.note == "" && note != ""
	if p.note != "" && note == "" {
		p.looks = nil // the wait says nothing about the rate
	}
	if p.note = plain(note); note != "" {
		p.tell(began && !p.wrote)
	}
}

// end leaves what was drawn on the terminal as it is now.
func (p *progress) end() {
	if p.width != nil && p.wrote {
		p.tell(true)
		fmt.Fprintln(p.out) //nolint:errcheck // only a remark, as all that follows
	}
}

func (p *progress) tell(now bool) {
	every := lineEvery
	if p.width != nil {
		every = drawEvery
	}
	if at := p.now(); now || at.Sub(p.told) >= every {
		p.told, p.wrote = at, true
		if p.width == nil {
			fmt.Fprintln(p.out, p.line()) //nolint:errcheck // as above
			return
		}
		fmt.Fprint(p.out, "\r"+p.bar(p.width())+"\x1b[K") //nolint:errcheck // as above
	}
}

// line is all there is to tell.
func (p *progress) line() string {
	text := fmt.Sprintf("%d looked at", p.seen)
	if p.total > 0 {
		text = fmt.Sprintf("%d of %d looked at (%d%%)", p.seen, p.total, p.percent())
	}
	return strings.Join(append([]string{text}, p.rest()...), ", ")
}

// rest is what comes behind how far it is, the most important first.
func (p *progress) rest() []string {
	out := []string{fmt.Sprintf("%d %s", p.events, p.did)}
	if p.note != "" {
		return append(out, p.note)
	}
	rate, left := p.rate()
	if rate >= 0 {
		out = append(out, fmt.Sprintf("%.0f/s", rate))
	}
	if left >= 0 {
		out = append(out, "ETA "+left.String())
	}
	return out
}

// bar is what fits into a line of a terminal, whose last column stays free: some terminals go to the next line when it is used.
func (p *progress) bar(width int) string {
	width = max(width-1, 1)
	text := p.rest()
	if p.total <= 0 {
		return cut(strings.Join(text, ", "), width)
	}
	percent := fmt.Sprintf("%3d%%", p.percent())
	words := strings.Join(text, ", ")
	for len(text) > 1 && cells(percent+"  "+words) > width && p.note == "" { // the rate goes before how long it takes
		text = append(text[:1:1], text[2:]...)
		words = strings.Join(text, ", ")
	}
	inner := min(width-cells(percent+"  "+words)-len("[] "), widestBar)
	if inner < 5 {
		return cut(percent+"  "+words, width)
	}
	full := int(int64(inner) * p.percent() / 100)
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", inner-full) + "] " + percent + "  " + words
}

// percent is 100 only at the end; a total may be an estimate.
func (p *progress) percent() int64 {
	if p.seen >= p.total {
		return 100
	}
	return int64(float64(p.seen) / float64(p.total) * 100)
}

// rate is events a second of late, and how long the rest will take at this speed; negative when that is not known.
func (p *progress) rate() (rate float64, left time.Duration) {
	if len(p.looks) < 2 {
		return -1, -1
	}
	first, last := p.looks[0], p.looks[len(p.looks)-1]
	took := last.at.Sub(first.at).Seconds()
	if took < 0.5 {
		return -1, -1
	}
	rate, left = float64(last.events-first.events)/took, -1
	if speed := float64(last.seen-first.seen) / took; speed > 0 && p.total > p.seen {
		seconds := min(float64(p.total-p.seen)/speed, 1e9)
		left = time.Duration(seconds * float64(time.Second)).Round(time.Second)
	}
	return rate, left
}

// cells is how many columns of a terminal a text takes, at most.
func cells(text string) (n int) {
	for _, r := range text {
		if n++; r >= 0x1100 { // from here on they may be wide
			n++
		}
	}
	return n
}

// cut is the beginning of a text that has room in so many columns.
func cut(text string, width int) string {
	n := 0
	for i, r := range text {
		if n += cells(string(r)); n > width {
			return text[:i]
		}
	}
	return text
}
