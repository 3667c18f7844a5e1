package staleness

import (
	"fmt"
	"strings"
	"time"
)

// tables are what a person reads of the report, as Markdown.
func (r *Report) tables() string {
	var b strings.Builder
	b.WriteString("| arm | cached values made stale | stuck of cached | per million, and at most (95 %) | its bound | reads beyond | stale reads per million | p50 | p99 | p99.9 | longest |\n")
	b.WriteString("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, a := range r.Arms {
		fmt.Fprintf(&b, "| **%s** %s | %s | **%d** of %s | %.2g, ≤ %.2g | %s | **%s** | %s | %s | %s | %s | %s |\n", a.Name, a.Title, group(a.Invalidations), a.Stuck, group(int64(a.Cached)),
			a.StuckPerMillion, a.StuckUpper, short(a.Bound), group(int64(a.Violations)), group(int64(a.StalePerMillion)),
			short(a.P50), short(a.P99), short(a.P999), short(a.Longest))
	}
	b.WriteString("\nThe load, and what it costs:\n\n")
	b.WriteString("| arm | seconds | updates/s | reads/s | hit rate | SELECT/s | keys deleted | faults | longest until over | reads while Redis was away | slowest fill | load average before | seed |\n")
	b.WriteString("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, a := range r.Arms {
		fmt.Fprintf(&b, "| **%s** | %.0f | %.0f | %.0f | %.1f %% | %.0f | %s | %d | %s | %d | %s | %s | %d |\n", a.Name, a.Took.Seconds(),
			float64(a.Updates)/a.Took.Seconds(), float64(a.Reads)/a.Took.Seconds(), 100*a.HitRate, a.Selects, group(a.Deletions),
			len(a.Faults), short(a.longestFault()), a.Failed, short(a.LongestFill), a.Busy, a.Seed)
	}
	fmt.Fprintf(&b, "\n%s; %s. %s rows with %d cached values each, stalls of %s at the median and for %.0f %% of the fills %s to %s, slack %s.\n",
		r.Machine, r.Versions, group(int64(r.Config.Rows)), len(pages), r.Config.Stall.Median, 100*r.Config.Stall.Share, r.Config.Stall.Least, r.Config.Stall.Most, r.Config.Slack)
	return b.String()
}

// longestFault is how long it took at most from the break until all that had come meanwhile was worked off.
func (r *Result) longestFault() (longest time.Duration) {
	for _, w := range r.Faults {
		longest = max(longest, w.To-w.From)
	}
	return longest
}

// short writes a time with two or three digits.
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

// group writes a number as 1,234,567.
func group(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// String is one line for who watches.
func (r *Result) String() string {
	return fmt.Sprintf("%.0f updates/s, %.0f reads/s, hit rate %.1f %%, %.0f SELECT/s, %s stale values made; stale reads %.0f per million, p50 %s, p99 %s, longest %s; %d beyond %s (%d values); %d stuck of %d cached",
		float64(r.Updates)/r.Took.Seconds(), float64(r.Reads)/r.Took.Seconds(), 100*r.HitRate, r.Selects, group(r.Invalidations),
		r.StalePerMillion, short(r.P50), short(r.P99), short(r.Longest), r.Violations, short(r.Bound), r.Overdue, r.Stuck, r.Cached)
}
