package staleness

import (
	"fmt"
	"strings"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/report"
)

// tables returns the report as Markdown.
func (r *Report) tables() string {
	var b strings.Builder
	found := report.NewTable("lrrrrrrrrrr", "arm", "cached values made stale", "stuck of cached", "per million, and at most (95 %)", "its bound", "reads beyond it",
		"stale reads per million", "p50", "p99", "p99.9", "longest")
	load := report.NewTable("lrrrrrrrrrrrr", "arm", "seconds", "updates/s", "reads/s", "hit rate", "SELECT/s", "keys deleted", "faults", "longest recovery",
		"failed reads (Redis down)", "slowest fill", "load average before", "seed")
	for _, a := range r.Arms {
		found.Row(fmt.Sprintf("**%s** %s", a.Name, a.Title), report.Thousands(a.Invalidations), fmt.Sprintf("**%d** of %s", a.Stuck, report.Thousands(int64(a.Cached))),
			fmt.Sprintf("%.2g, ≤ %.2g", a.StuckPerMillion, a.StuckUpper), short(a.Bound), "**"+report.Thousands(int64(a.Violations))+"**",
			report.Thousands(int64(a.StalePerMillion)), short(a.P50), short(a.P99), short(a.P999), short(a.Longest))
		load.Row("**"+a.Name+"**", fmt.Sprintf("%.0f", a.Took.Seconds()), perSecond(a.Updates, a.Took), perSecond(a.Reads, a.Took), fmt.Sprintf("%.1f %%", 100*a.HitRate),
			fmt.Sprintf("%.0f", a.Selects), report.Thousands(a.Deletions), len(a.Faults), short(a.longestFault()), a.Failed, short(a.LongestFill), a.Load, a.Seed)
	}
	fmt.Fprintf(&b, "%s\nThe load, and what it costs:\n\n%s", found, load)
	fmt.Fprintf(&b, "\n%s; %s. %s rows with %d cached values each; a fill stalls for %s at the median, and %.0f %% of the fills for %s to %s; slack %s.\n", r.Machine, r.Versions,
		report.Thousands(int64(r.Config.Rows)), len(pages), r.Config.Stall.Median, 100*r.Config.Stall.Share, r.Config.Stall.Least, r.Config.Stall.Most, r.Config.Slack)
	return b.String()
}

func perSecond(n int64, took time.Duration) string {
	return fmt.Sprintf("%.0f", float64(n)/took.Seconds())
}

// longestFault returns the longest time from a fault until its backlog was processed.
func (r *Result) longestFault() (longest time.Duration) {
	for _, w := range r.Faults {
		longest = max(longest, w.To-w.From)
	}
	return longest
}

// short formats a duration with two or three digits.
func short(d time.Duration) string {
	switch {
	case d == 0:
		return "–"
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f s", d.Seconds())
}

// String returns the result on one line, for progress output.
func (r *Result) String() string {
	return fmt.Sprintf("%s updates/s, %s reads/s, hit rate %.1f %%, %.0f SELECT/s, %s values made stale; stale reads %.0f per million, p50 %s, p99 %s, longest %s; %d reads beyond %s (%d values); %d stuck of %d cached",
		perSecond(r.Updates, r.Took), perSecond(r.Reads, r.Took), 100*r.HitRate, r.Selects, report.Thousands(r.Invalidations),
		r.StalePerMillion, short(r.P50), short(r.P99), short(r.Longest), r.Violations, short(r.Bound), r.Overdue, r.Stuck, r.Cached)
}
