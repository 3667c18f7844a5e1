package bench

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/seed-6eff6314/outbox-relay/internal/report"
)

// units are the names of metrics in the tables.
var units = map[string]string{
	perSecond: "events/s", keysPerSecond: "keys/s", p50: "p50, ms", p90: "p90, ms", p99: "p99, ms", p999: "p99.9, ms", longest: "longest, ms",
	allocations: "allocations per event", deadTuples: "dead tuples", cpuPercent: "CPU, % of a core", queriesPerSecond: "queries/s on PostgreSQL",
	peakMiB: "peak RSS, MiB", "wakes": "notifications received", "lost": "events lost",
}

// Unit returns the name of a metric in tables and figures.
func Unit(metric string) string { return units[metric] }

// hidden are metrics that only results.json has.
var hidden = []string{p90, p999, longest, "wakes"}

// isShown reports whether the table of results has a measure.
func (r *Result) isShown(m Measure) bool {
	switch {
	case slices.Contains(hidden, m.Metric):
		return false
	case m.Metric == perSecond && r.Measure(oursArm, p50) != nil:
		return false // the rate is a setting
	}
	return m.Arm == oursArm || m.Metric == perSecond || m.Metric == p50 || m.Metric == p99
}

// resultTable returns the measures as Markdown.
func (r *Report) resultTable() string {
	t := report.NewTable("llrrrlll", "scenario", "metric", "floor", "ours", "ratio", "spread", "target", "")
	for _, result := range r.Results {
		for _, m := range result.Measures {
			if !result.isShown(m) {
				continue
			}
			metric, verdict := units[m.Metric], ""
			if m.Arm != oursArm {
				metric += ", *" + m.Arm + "*"
			}
			if m.Met != nil {
				verdict = map[bool]string{true: "met", false: "**missed**"}[*m.Met]
			}
			cells := m.cells()
			t.Row("`"+result.Scenario+"`", metric, cells[0], cells[1], cells[2], cells[3], m.Want, verdict)
		}
	}
	if r.Platform == nil {
		return t.String()
	}
	return fmt.Sprintf("Measured on %s.\n\n%s", r.Platform, t)
}

// useTable returns what each arm used, as Markdown.
func (r *Report) useTable() string {
	t := report.NewTable("lllrlr", "scenario", "arm", "CPU, s per million events", "cores busy, of the machine", "peak RSS, MiB", "allocations per event")
	for _, result := range r.Results {
		for _, u := range result.Arms {
			allocs := "-"
			if u.AllocsEach > 0 {
				allocs = number(u.AllocsEach)
			}
			t.Row("`"+result.Scenario+"`", u.Arm, listed(u.CPU), fmt.Sprintf("%.0f %%", 100*u.Busy), listed(u.PeakMiB), allocs)
		}
	}
	return t.String()
}

// settingsList returns the settings and the bottleneck of each scenario, as a Markdown list. Notes that all results have
// follow it.
func (r *Report) settingsList() string {
	var b strings.Builder
	var common []string
	if len(r.Results) > 0 {
		common = slices.DeleteFunc(slices.Clone(r.Results[0].Notes), func(note string) bool {
			return slices.ContainsFunc(r.Results, func(x *Result) bool { return !slices.Contains(x.Notes, note) })
		})
	}
	for _, result := range r.Results {
		fmt.Fprintf(&b, "- `%s`: %s. Floor: %s. %s; %s. Ours is limited by %s.\n", result.Scenario, result.Title, cmp.Or(result.Floor, "none"),
			result.Settings, result.Measured.Format("2006-01-02 15:04 UTC"), result.Bottleneck)
		for _, note := range result.Notes {
			if !slices.Contains(common, note) {
				fmt.Fprintf(&b, "  Note: %s.\n", note)
			}
		}
	}
	for _, note := range common {
		fmt.Fprintf(&b, "\nAll of them: %s.\n", note)
	}
	return b.String()
}

func listed(values map[string]float64) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		out = append(out, name+" "+number(values[name]))
	}
	return strings.Join(out, ", ")
}

// curveTables returns a table and a figure for each curve, as Markdown.
func (r *Report) curveTables() string {
	var b strings.Builder
	for _, d := range r.Curves {
		if len(d.Points) == 0 {
			continue
		}
		t := report.NewTable("rlrrrlr", d.Axis, "metric", "floor", "ours", "ratio", "spread", "CPU, s per million events")
		for _, p := range d.Points {
			for _, m := range p.Result.Measures {
				if d.shows(m) {
					cells := m.cells()
					t.Row(report.Thousands(int64(p.X)), strings.TrimSpace(units[m.Metric]+" "+p.Series), cells[0], cells[1], cells[2], cells[3], number(p.CPU()))
				}
			}
		}
		fmt.Fprintf(&b, "### %s\n\n![%s](%s.png)\n\n%s\n%s.\n\n", d.Title, d.Title, d.Curve, t, d.Points[0].Result.Settings)
	}
	return b.String()
}

// shows reports whether a measure belongs to the curve: the latencies if there are any, otherwise the rate.
func (d *CurveResult) shows(m Measure) bool {
	return m.Arm == oursArm && (m.Metric == d.Metric() || m.Metric == p99)
}

// Metric returns the metric that the curve shows.
func (d *CurveResult) Metric() string {
	if len(d.Points) > 0 && d.Points[0].Result.Measure(oursArm, p50) != nil {
		return p50
	}
	return perSecond
}

// CPU returns the processor time of ours for a million events, of all visible processes.
func (p Point) CPU() (seconds float64) {
	for _, u := range p.Result.Arms {
		for name, s := range u.CPU {
			if u.Arm == oursArm && name != procRest {
				seconds += s
			}
		}
	}
	return seconds
}

// Ours returns the measure of a metric of ours; nil if there is none.
func (p Point) Ours(metric string) *Measure { return p.Result.Measure(oursArm, metric) }
