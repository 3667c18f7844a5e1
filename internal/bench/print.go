package bench

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/report"
)

// String returns the target as text: "ratio >= 0.90".
func (t target) String() string {
	what := ""
	if t.ratio {
		what = "ratio "
	}
	if t.least > 0 {
		return fmt.Sprintf("%s>= %.2f", what, t.least)
	}
	return fmt.Sprintf("%s<= %g", what, t.most)
}

// bottleneck describes what limited an arm, as far as the use of the processors shows it. It completes the sentence "ours is
// limited by …".
func bottleneck(u Use) string {
	names := slices.Sorted(maps.Keys(u.Cores))
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(u.Cores[b], u.Cores[a]) })
	if len(names) == 0 {
		return "unknown: no process is visible"
	}
	var shares []string
	for _, name := range names {
		if u.Cores[name] >= 0.005 {
			shares = append(shares, fmt.Sprintf("%s %.2f", name, u.Cores[name]))
		}
	}
	list := strings.Join(shares, ", ")
	first := names[0]
	switch {
	case list == "":
		return "nothing: no process used 0.5 % of a core"
	case u.Busy >= 0.9 && first == procRest:
		return fmt.Sprintf("other processes, which used most of the %d cores (cores used: %s)", runtime.NumCPU(), list)
	case u.Busy >= 0.9:
		return fmt.Sprintf("the processors: all %d are %.0f %% busy, mostly with %s (cores used: %s)", runtime.NumCPU(), 100*u.Busy, first, list)
	case u.Cores[first] >= 0.9 && first != procRest:
		return fmt.Sprintf("%s, which fills one core while others are idle (cores used: %s)", first, list)
	case u.Busy == 0:
		return fmt.Sprintf("unknown: the servers are on another machine or not visible (cores used: %s)", list)
	}
	return fmt.Sprintf("latency, not computation: round trips, and commits to disk; the cores are %.0f %% busy (cores used: %s)", 100*u.Busy, list)
}

// line returns the most important metrics of a sample, for progress output.
func (s Sample) line() string {
	if v, ok := s.Values[p50]; ok {
		return fmt.Sprintf("p50 %.2f ms, p99 %.2f ms, %.0f events/s", v, s.Values[p99], s.Values[perSecond])
	}
	if v, ok := s.Values[perSecond]; ok {
		return group(v) + " events/s"
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(s.Values)) {
		all = append(all, fmt.Sprintf("%s %.3g", name, s.Values[name]))
	}
	return strings.Join(all, ", ")
}

// Print writes a result as text.
func (r *Result) Print(w io.Writer) error {
	fmt.Fprintf(w, "%s: %s\n  %s\n", r.Scenario, r.Title, r.Settings)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(t, "  \tfloor: %s\tours\tratio\tspread\ttarget\t\n", cmp.Or(r.Floor, "-"))
	for _, m := range r.Measures {
		name := m.Metric
		if m.Arm != oursArm {
			name += " of " + m.Arm
		}
		fmt.Fprintf(t, "  %s\t%s\n", name, strings.Join(m.cells(), "\t"))
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	for _, u := range r.Arms {
		fmt.Fprintf(w, "  %s: %s\n", u.Arm, u.text())
	}
	fmt.Fprintf(w, "  ours is limited by %s\n", r.Bottleneck)
	for _, note := range r.Notes {
		fmt.Fprintf(w, "  note: %s\n", note)
	}
	_, err := fmt.Fprintln(w)
	return err
}

// cells returns floor, value, ratio, spread and target.
func (m Measure) cells() []string {
	floor, ratio, spread := "-", "-", number(m.Least)+" to "+number(m.Most)
	if m.Ratio != 0 {
		floor, ratio, spread = number(m.Floor), fmt.Sprintf("%.2f", m.Ratio), fmt.Sprintf("%.2f to %.2f", m.RatioLeast, m.RatioMost)
	}
	target := m.Want
	if m.Met != nil {
		target += map[bool]string{true: ", met", false: ", MISSED"}[*m.Met]
	}
	return []string{floor, number(m.Value), ratio, spread, target}
}

// text returns what an arm used.
func (u Use) text() string {
	var parts []string
	add := func(what string, values map[string]float64, unit string) {
		var each []string
		for _, name := range slices.Sorted(maps.Keys(values)) {
			each = append(each, fmt.Sprintf("%s %.3g", name, values[name]))
		}
		if len(each) > 0 {
			parts = append(parts, what+strings.Join(each, ", ")+unit)
		}
	}
	add("CPU ", u.CPU, " s per million events")
	add("peak RSS ", u.PeakMiB, " MiB")
	if u.AllocsEach > 0 {
		parts = append(parts, fmt.Sprintf("%.1f allocations per event in this process", u.AllocsEach))
	}
	return strings.Join(parts, "; ")
}

// String lists the settings that a scenario uses.
func (s Settings) String() string {
	var out []string
	for _, f := range []struct {
		n         int
		one, many string // formats for 1 and for other numbers
	}{
		{s.Runs, "%s run", "%s runs"}, {s.Events, "%s event", "%s events"}, {s.Payload, "payload of %s B", "payload of %s B"},
		{s.Rate, "%s event/s", "%s events/s"}, {s.Clients, "%s client", "%s clients"}, {s.Replicas, "%s replica", "%s replicas"},
		{s.Keys, "%s key", "%s keys"}, {s.Batch, "batch of %s", "batches of %s"}, {s.Window, "window of %s", "window of %s"},
		{s.Instances, "%s instance", "%s instances"}, {s.Parts, "%s partition", "%s partitions"},
	} {
		switch f.n {
		case 0:
		case 1:
			out = append(out, fmt.Sprintf(f.one, "1"))
		default:
			out = append(out, fmt.Sprintf(f.many, report.Thousands(int64(f.n))))
		}
	}
	if s.Duration != 0 {
		out = append(out, s.Duration.Round(time.Millisecond).String())
	}
	return strings.Join(out, ", ")
}

// number formats a figure with three digits, or with all digits before the point.
func number(v float64) string {
	if v >= 100 {
		return group(v)
	}
	return fmt.Sprintf("%.3g", v)
}

// group formats a figure without decimals: 1,234,567.
func group(v float64) string { return report.Thousands(int64(math.RoundToEven(v))) }
