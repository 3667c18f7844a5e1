package demo

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

const (
	redrawEvery = 250 * time.Millisecond // on a terminal
	lineEvery   = 2 * time.Second        // elsewhere
	minWidth    = 40                     // columns that are assumed at least
)

// A panel shows a run. On a terminal it redraws itself in place; elsewhere it writes a line every 2 s. Lines logged by
// state.log stay above it.
type panel struct {
	run      *run
	out      io.Writer
	terminal int // file descriptor, -1: none
	color    bool
	drawn    int     // lines of it on the terminal
	backlog  []int64 // pending events at the last redraws, for the graph
}

func newPanel(r *run) *panel {
	p := &panel{run: r, out: r.cfg.Progress, terminal: -1}
	if file, ok := p.out.(*os.File); ok && term.IsTerminal(int(file.Fd())) && os.Getenv("TERM") != "dumb" {
		p.terminal, p.color = int(file.Fd()), !r.cfg.NoColor
	}
	return p
}

// Run draws until ctx ends or state.over is closed, and then clears the panel. It ignores errors of writing, so that a closed
// terminal does not end the demo.
func (p *panel) Run(ctx context.Context) {
	every := lineEvery
	if p.terminal >= 0 {
		every = redrawEvery
	}
	tick := time.NewTicker(redrawEvery)
	defer tick.Stop()
	defer p.print("")
	var last time.Time
	for {
		now := p.run.snapshot()
		p.backlog = append(p.backlog, now.pending)
		p.backlog = p.backlog[max(0, len(p.backlog)-graphWidth):]
		lines := p.run.state.takeLines()
		body := ""
		if due := time.Since(last) >= every-redrawEvery/2; due && !now.began.IsZero() {
			body, last = p.body(now), time.Now()
		}
		if len(lines) > 0 || body != "" {
			p.print(body, lines...)
		}
		select {
		case <-tick.C:
		case <-p.run.state.over:
			p.print("", p.run.state.takeLines()...)
			return
		case <-ctx.Done():
			return
		}
	}
}

func (p *panel) body(now snapshot) string {
	if p.terminal < 0 {
		return now.line()
	}
	return p.draw(now)
}

// print replaces the panel by lines and draws the new panel below them.
func (p *panel) print(body string, lines ...string) {
	var b strings.Builder
	if p.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\x1b[J", p.drawn) // moves up and clears to the end of the screen
		p.drawn = 0
	}
	for _, line := range lines {
		b.WriteString(p.fit(line) + "\n")
	}
	if body != "" {
		for line := range strings.Lines(body) {
			b.WriteString(p.fit(strings.TrimRight(line, "\n")) + "\n")
			p.drawn++
		}
	}
	if p.terminal < 0 {
		p.drawn = 0
	}
	io.WriteString(p.out, b.String()) //nolint:errcheck // see Run
}

// fit cuts a line to the width of the terminal, so that it never wraps. Escape sequences have no width.
func (p *panel) fit(line string) string {
	if p.terminal < 0 {
		return line
	}
	width, _, err := term.GetSize(p.terminal)
	if err != nil {
		width = 80
	}
	width = max(width, minWidth)
	var b strings.Builder
	column, escape := 0, false
	for _, r := range line {
		switch {
		case r == '\x1b':
			escape = true
		case escape:
			escape = r != 'm'
		case column == width:
			continue
		default:
			column++
		}
		b.WriteRune(r)
	}
	return b.String()
}

// A snapshot is the content of the panel.
type snapshot struct {
	began, at                           time.Time
	elapsed, duration                   time.Duration
	phase                               string
	broken                              bool
	committed, published, pending       int64
	lag                                 time.Duration
	tps                                 float64
	deleted, cached, hits, misses       int64
	stream50, stream99, evict50, evict9 time.Duration
}

func (r *run) snapshot() snapshot {
	st := r.state
	elapsed := st.elapsed()
	st.mu.Lock()
	s := snapshot{
		began: st.began, at: time.Now(), elapsed: elapsed, duration: st.duration, phase: st.phase, broken: st.broken,
		committed: st.committed, published: st.published, pending: max(st.committed-st.published, 0), lag: st.lag,
	}
	st.mu.Unlock()
	s.tps = r.app.tps()
	s.deleted, _ = r.evicts.deleted()
	s.hits, s.misses = r.cache.hits.Load(), r.cache.misses.Load()
	s.cached = max(s.misses-s.deleted, 0) // approximate: two readers may fill one key
	s.stream50, s.stream99 = r.watcher.delay.calm.quantile(0.5), r.watcher.delay.calm.quantile(0.99)
	s.evict50, s.evict9 = r.evicts.delay.calm.quantile(0.5), r.evicts.delay.calm.quantile(0.99)
	return s
}

// line returns the snapshot on one line.
func (s snapshot) line() string {
	return fmt.Sprintf("%5.1f s  commits %d  published %d  pending %d  lag %s  deleted %d  cached %d  hits %d  misses %d  "+
		"stream p50 %s p99 %s  evicted p50 %s p99 %s ms  %s\n", s.elapsed.Seconds(), s.committed, s.published, s.pending, short(s.lag),
		s.deleted, s.cached, s.hits, s.misses, ms(milliseconds(s.stream50)), ms(milliseconds(s.stream99)),
		ms(milliseconds(s.evict50)), ms(milliseconds(s.evict9)), s.phase)
}
