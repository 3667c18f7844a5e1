package bench

import (
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// String is the target for people.
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

// bottleneck says in a sentence what an arm was bound by, as far as the shares of the processors tell.
func bottleneck(u Use) string {
	names := slices.Sorted(maps.Keys(u.Cores))
	slices.SortStableFunc(names, func(a, b string) int {
		switch {
		case u.Cores[a] > u.Cores[b]:
			return -1
		case u.Cores[a] < u.Cores[b]:
			return 1
		}
		return 0
	})
	if len(names) == 0 {
		return "not known: no process could be seen"
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
		return "nothing: no process used half a percent of a core"
	case u.Busy >= 0.9 && first == procRest:
		return fmt.Sprintf("processes that are not part of this, which took most of the %d cores (cores used: %s)", runtime.NumCPU(), list)
	case u.Busy >= 0.9:
		return fmt.Sprintf("the processors, all %d busy to %.0f %%, %s most of all (cores used: %s)", runtime.NumCPU(), 100*u.Busy, first, list)
	case u.Cores[first] >= 0.9 && first != procRest:
		return fmt.Sprintf("%s, which keeps a core busy while others are idle (cores used: %s)", first, list)
	case u.Busy == 0:
		return fmt.Sprintf("not known: the servers are not on this machine, or cannot be seen (cores used: %s)", list)
	}
	return fmt.Sprintf("waiting, not computing: round trips, and commits that go to the disk; the cores are busy to %.0f %% (cores used: %s)", 100*u.Busy, list)
}

// line is a sample for who watches.
func (s Sample) line() string {
	if v, ok := s.Values[p50]; ok {
		return fmt.Sprintf("p50 %.2f ms, p99 %.2f ms, %.0f events/s", v, s.Values[p99], s.Values[perSecond])
	}
	if v, ok := s.Values[perSecond]; ok {
		return fmt.Sprintf("%s events/s", group(v))
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(s.Values)) {
		all = append(all, fmt.Sprintf("%s %.3g", name, s.Values[name]))
	}
	return strings.Join(all, ", ")
}

// Print writes a result for people.
func (r *Result) Print(w io.Writer) error {
	fmt.Fprintf(w, "%s: %s\n  %s\n", r.Scenario, r.Title, r.Settings)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	floor := "-"
	if r.Floor != "" {
		floor = r.Floor
	}
	fmt.Fprintf(t, "  \tfloor: %s\tthis\tratio\tspread\twanted\t\n", floor)
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
	fmt.Fprintf(w, "  bound by %s\n", r.Bottleneck)
	for _, note := range r.Notes {
		fmt.Fprintf(w, "  note: %s\n", note)
	}
	_, err := fmt.Fprintln(w)
	return err
}

// cells are floor, value, ratio, spread and what is wanted.
func (m Measure) cells() []string {
	floor, ratio, spread := "-", "-", number(m.Least)+" to "+number(m.Most)
	if m.Ratio != 0 {
		floor, ratio, spread = number(m.Floor), fmt.Sprintf("%.2f", m.Ratio), fmt.Sprintf("%.2f to %.2f", m.RatioLeast, m.RatioMost)
	}
	want := m.Want
	if m.Met != nil {
		want += map[bool]string{true: ", met", false: ", MISSED"}[*m.Met]
	}
	return []string{floor, number(m.Value), ratio, spread, want}
}

// text is what an arm used.
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
		n    int
		name string
	}{
		{s.Runs, "runs"}, {s.Events, "events"}, {s.Payload, "B payload"}, {s.Rate, "events/s"}, {s.Clients, "clients"}, {s.Replicas, "replicas"},
		{s.Keys, "keys"}, {s.Batch, "events per batch"}, {s.Window, "in the window"}, {s.Fleet, "in the fleet"}, {s.Parts, "partitions"},
	} {
		if f.n != 0 {
			out = append(out, group(float64(f.n))+" "+f.name)
		}
	}
	if s.Duration != 0 {
		out = append(out, s.Duration.Round(time.Millisecond).String())
	}
	return strings.Join(out, ", ")
}

// number is a figure with three digits, or all of those before the point.
func number(v float64) string {
	if v >= 100 {
		return group(v)
	}
	return fmt.Sprintf("%.3g", v)
}

// group writes a number as 1,234,567.
func group(v float64) string {
	text := fmt.Sprintf("%.0f", v)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
