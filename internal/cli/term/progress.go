package term

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
	rateWindow = 10 * time.Second       // over which the rate is taken
	widestBar  = 30
)

// A Progress reports how far a long task is. On a terminal it redraws one line, without color and never wider than the
// terminal; elsewhere it prints a line every five seconds. Write errors are ignored: the task matters, not the report.
// It must be used by one goroutine at a time.
type Progress struct {
	out   io.Writer
	did   string     // to events: copied, inserted
	width func() int // of the terminal; nil elsewhere
	now   func() time.Time

	seen, total, events int64
	note                string    // why the task waits
	samples             []sample  // of the last rateWindow, oldest first
	printed             time.Time // when it last printed, or began
	wrote               bool
}

// A sample is how far the task was at a time.
type sample struct {
	at           time.Time
	seen, events int64
}

// NewProgress reports to out. did is the participle of what the task does to events, such as copied.
func NewProgress(out io.Writer, did string) *Progress {
	p := &Progress{out: out, did: did, now: time.Now, printed: time.Now()}
	if file, ok := IsTerminal(out); ok && os.Getenv("TERM") != "dumb" {
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

// Show reports that seen of total rows were scanned and that events were made of them. A total of 0 is unknown: then
// there is no bar.
func (p *Progress) Show(seen, total, events int64) {
	p.seen, p.total, p.events = seen, total, events
	now := p.now()
	p.samples = append(p.samples, sample{now, seen, events})
	for len(p.samples) > 2 && now.Sub(p.samples[1].at) > rateWindow {
		p.samples = p.samples[1:]
	}
	p.print(false)
}

// Wait reports why the task waits; an empty note means that it continues.
func (p *Progress) Wait(note string) {
	began := p.note == "" && note != ""
	if p.note != "" && note == "" {
		p.samples = nil // the wait must not lower the rate
	}
	if p.note = Plain(note); note != "" {
		p.print(began && !p.wrote)
	}
}

// End leaves the last line on the terminal.
func (p *Progress) End() {
	if p.width != nil && p.wrote {
		p.print(true)
		fmt.Fprintln(p.out) //nolint:errcheck // see Progress
	}
}

// print draws or prints at most once per interval, or now.
func (p *Progress) print(now bool) {
	every := lineEvery
	if p.width != nil {
		every = drawEvery
	}
	if at := p.now(); now || at.Sub(p.printed) >= every {
		p.printed, p.wrote = at, true
		if p.width == nil {
			fmt.Fprintln(p.out, p.line()) //nolint:errcheck // see Progress
			return
		}
		fmt.Fprint(p.out, "\r"+p.bar(p.width())+"\x1b[K") //nolint:errcheck // see Progress
	}
}

// line is the whole report as one line.
func (p *Progress) line() string {
	text := fmt.Sprintf("%d scanned", p.seen)
	if p.total > 0 {
		text = fmt.Sprintf("%d of %d scanned (%d%%)", p.seen, p.total, p.percent())
	}
	return strings.Join(append([]string{text}, p.rest()...), ", ")
}

// rest returns the parts of the report after the share that is done, the most important first.
func (p *Progress) rest() []string {
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

// bar is the report in one line of a terminal. The last column stays free, because some terminals wrap when it is used.
func (p *Progress) bar(width int) string {
	width = max(width-1, 1)
	text := p.rest()
	if p.total <= 0 {
		return cut(strings.Join(text, ", "), width)
	}
	percent := fmt.Sprintf("%3d%%", p.percent())
	words := strings.Join(text, ", ")
	for len(text) > 1 && cells(percent+"  "+words) > width && p.note == "" { // drop the rate first, then the time left
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

// percent is 100 only when all rows were scanned. A total that is an estimate may be too low.
func (p *Progress) percent() int64 {
	if p.seen >= p.total {
		return 100
	}
	return int64(float64(p.seen) / float64(p.total) * 100)
}

// rate returns the events per second over rateWindow and the time that the rest takes at that speed; each is negative
// when it is unknown.
func (p *Progress) rate() (rate float64, left time.Duration) {
	if len(p.samples) < 2 {
		return -1, -1
	}
	first, last := p.samples[0], p.samples[len(p.samples)-1]
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

// cells returns the columns of a terminal that a text takes, at most.
func cells(text string) (n int) {
	for _, r := range text {
		if n++; r >= 0x1100 { // characters from here on may be two columns wide
			n++
		}
	}
	return n
}

// cut returns as much of the beginning of a text as fits in width columns.
func cut(text string, width int) string {
	n := 0
	for i, r := range text {
		if n += cells(string(r)); n > width {
			return text[:i]
		}
	}
	return text
}
