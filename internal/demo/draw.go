package demo

import (
	"fmt"
	"slices"
	"strings"
)

// graphWidth is how many redraws the graph of the backlog shows: 15 seconds.
const graphWidth = 60

// SGR parameters of ANSI escape sequences.
const (
	bold   = "1"
	dim    = "2"
	red    = "1;31"
	green  = "32"
	yellow = "33"
)

// draw returns the panel for a terminal of 80 columns.
func (p *panel) draw(s snapshot) string {
	signal := green
	switch {
	case s.broken:
		signal = red
	case s.phase != "running":
		signal = yellow
	}
	count := func(name string, n int64) string {
		return fmt.Sprintf("%s %s", name, p.paint(bold, fmt.Sprintf("%9s", thousands(n))))
	}
	delay := func(name, p50, p99 string) string {
		return fmt.Sprintf("  %-18sp50 %s ms     p99 %s ms\n", name, p.paint(bold, fmt.Sprintf("%8s", p50)), p.paint(bold, fmt.Sprintf("%8s", p99)))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s %5.1f of %.0f s   %s\n\n", p.paint(bold, "outbox-dev demo"), s.elapsed.Seconds(), s.duration.Seconds(), p.paint(signal, s.phase))
	fmt.Fprintf(&b, "  PostgreSQL  %s   %7.0f/s\n", count("commits   ", s.committed), s.tps)
	fmt.Fprintf(&b, "  JetStream   %s   %s   lag %8s\n", count("published ", s.published), count("pending", s.pending), short(s.lag))
	fmt.Fprintf(&b, "  Redis       %s   %s   deleted %s\n", count("cached    ", s.cached), count("hits   ", s.hits), p.paint(bold, thousands(s.deleted)))
	fmt.Fprintf(&b, "                                     misses  %s\n\n", p.paint(bold, fmt.Sprintf("%9s", thousands(s.misses))))
	fmt.Fprintf(&b, "  backlog     %s\n\n", p.paint(signal, graph(p.backlog)))
	b.WriteString(delay("insert → stream", ms(milliseconds(s.stream50)), ms(milliseconds(s.stream99))))
	b.WriteString(delay("insert → evicted", ms(milliseconds(s.evict50)), ms(milliseconds(s.evict9))))
	b.WriteString(p.paint(dim, "  delays without faults; they include the rest of the transaction") + "\n")
	return b.String()
}

func (p *panel) paint(sgr, text string) string {
	if !p.color {
		return text
	}
	return "\x1b[" + sgr + "m" + text + "\x1b[0m"
}

// graph returns a bar for each number. A full bar is the highest number, but at least 100, so that few events look like few.
func graph(values []int64) string {
	bars := []rune(" ▁▂▃▄▅▆▇█")
	if len(values) == 0 {
		return ""
	}
	top := max(slices.Max(values), 100)
	var b strings.Builder
	for _, v := range values {
		b.WriteRune(bars[(max(v, 0)*int64(len(bars)-1)+top-1)/top])
	}
	return b.String()
}
