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
	narrowest   = 40                     // columns that are assumed at least
)

// A panel shows the run: on a terminal it redraws itself in place, elsewhere it writes a line now and then. What the
// board says stays, above it.
type panel struct {
	show     *show
	out      io.Writer
	terminal int // file descriptor, -1: none
	colour   bool
	drawn    int     // lines of it on the terminal
	backlog  []int64 // pending at the last redraws, for the graph
}

func newPanel(d *show) *panel {
	p := &panel{show: d, out: d.cfg.Progress, terminal: -1}
	if file, ok := p.out.(*os.File); ok && term.IsTerminal(int(file.Fd())) && os.Getenv("TERM") != "dumb" {
		p.terminal, p.colour = int(file.Fd()), !d.cfg.NoColor
	}
	return p
}

// Run shows until ctx ends or the show is over, and clears the panel. Nobody waits for who looks: what cannot be
// written is left out.
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
		now := p.show.now()
		p.backlog = append(p.backlog, now.pending)
		p.backlog = p.backlog[max(0, len(p.backlog)-graphWidth):]
		lines := p.show.board.said()
		body := ""
		if due := time.Since(last) >= every-redrawEvery/2; due && !now.began.IsZero() {
			body, last = p.body(now), time.Now()
		}
		if len(lines) > 0 || body != "" {
			p.print(body, lines...)
		}
		select {
		case <-tick.C:
		case <-p.show.board.over:
			p.print("", p.show.board.said()...)
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

// print puts lines where the panel was, and the new one below them.
func (p *panel) print(body string, lines ...string) {
	var b strings.Builder
	if p.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\x1b[J", p.drawn) // up, and clear to the end
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

// fit cuts a line to the width of the terminal, so that it never wraps; escape sequences have no width.
func (p *panel) fit(line string) string {
	if p.terminal < 0 {
		return line
	}
	width, _, err := term.GetSize(p.terminal)
	if err != nil {
		width = 80
	}
	width = max(width, narrowest)
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

// A snapshot is what the panel shows.
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

func (d *show) now() snapshot {
	b := d.board
	elapsed := b.elapsed()
	b.mu.Lock()
	s := snapshot{
		began: b.began, at: time.Now(), elapsed: elapsed, duration: b.duration, phase: b.phase, broken: b.broken,
		committed: b.committed, published: b.published, pending: max(b.committed-b.published, 0), lag: b.lag,
	}
	b.mu.Unlock()
	s.tps = d.app.tps()
	s.deleted, _ = d.evicts.deleted()
	s.hits, s.misses = d.cache.hits.Load(), d.cache.misses.Load()
	s.cached = max(s.misses-s.deleted, 0) // about: two readers may fill one key
	s.stream50, s.stream99 = d.watcher.delay.calm.quantile(0.5), d.watcher.delay.calm.quantile(0.99)
	s.evict50, s.evict9 = d.evicts.delay.calm.quantile(0.5), d.evicts.delay.calm.quantile(0.99)
	return s
}

// line is a snapshot for logs.
func (s snapshot) line() string {
	return fmt.Sprintf("%5.1f s  commits %d  published %d  pending %d  lag %s  deleted %d  cached %d  hits %d  misses %d  "+
		"stream p50 %s p99 %s  evicted p50 %s p99 %s ms  %s\n", s.elapsed.Seconds(), s.committed, s.published, s.pending, short(s.lag),
		s.deleted, s.cached, s.hits, s.misses, ms(milliseconds(s.stream50)), ms(milliseconds(s.stream99)),
		ms(milliseconds(s.evict50)), ms(milliseconds(s.evict9)), s.phase)
}
