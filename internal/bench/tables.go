package bench

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// units are how metrics read in the tables.
var units = map[string]string{
	perSecond: "events/s", "keys_per_second": "keys/s", p50: "p50, ms", p90: "p90, ms", p99: "p99, ms", p999: "p99.9, ms", longest: "longest, ms",
	allocations: "allocations per event", deadTuples: "dead tuples", cpuPercent: "CPU, % of a core", queriesPerSecond: "queries/s on PostgreSQL",
	peakMiB: "peak RSS, MiB", "wakes": "notifications heard", "lost": "events lost",
}

// hidden are metrics that a table leaves out; results.json has them.
var hidden = []string{p90, p999, longest, "wakes"}

// tables are what a person reads of the scenarios, as Markdown.
func (r *Report) tables() string {
	var b strings.Builder
	if r.Place != nil {
		fmt.Fprintf(&b, "Measured on %s.\n\n", r.Place)
	}
	b.WriteString("| scenario | what | floor | ours | ratio | spread | wanted | |\n|---|---|--:|--:|--:|---|---|---|\n")
	for _, result := range r.Results {
		for _, m := range result.Measures {
			if slices.Contains(hidden, m.Metric) || m.Arm != oursArm && m.Metric != perSecond && m.Metric != p50 && m.Metric != p99 {
				continue
			}
			if m.Metric == perSecond && result.Measure(oursArm, p50) != nil {
				continue // it is the pace
			}
			name := "`" + result.Scenario + "`"
			what := units[m.Metric]
			if m.Arm != oursArm {
				what += ", *" + m.Arm + "*"
			}
			cells := m.cells()
			verdict := ""
			if m.Met != nil {
				verdict = map[bool]string{true: "met", false: "**missed**"}[*m.Met]
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s |\n", name, what, cells[0], cells[1], cells[2], cells[3], m.Want, verdict)
		}
	}
	b.WriteString("\nAn arm in italics stands beside floor and ours, and has no target. What each used:\n\n")
	b.WriteString("| scenario | arm | CPU, s per million events | cores busy, of the machine | peak RSS, MiB | allocations per event |\n|---|---|---|--:|---|--:|\n")
	for _, result := range r.Results {
		for _, u := range result.Arms {
			allocs := "-"
			if u.AllocsEach > 0 {
				allocs = number(u.AllocsEach)
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %.0f %% | %s | %s |\n", result.Scenario, u.Arm, listed(u.CPU), 100*u.Busy, listed(u.PeakMiB), allocs)
		}
	}
	b.WriteString("\nWhat ours is bound by, and how it was set:\n\n")
	for _, result := range r.Results {
		fmt.Fprintf(&b, "- `%s` (%s, floor: %s; %s; %s): %s.\n", result.Scenario, result.Title, orDash(result.Floor), result.Settings, result.Measured.Format("2006-01-02 15:04 UTC"), result.Bottleneck)
		for _, note := range result.Notes {
			fmt.Fprintf(&b, "  %s.\n", note)
		}
	}
	return b.String()
}

func orDash(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

func listed(values map[string]float64) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		out = append(out, name+" "+number(values[name]))
	}
	return strings.Join(out, ", ")
}

// curveTables are the same of the curves, each with its figure.
func (r *Report) curveTables() string {
	var b strings.Builder
	for _, d := range r.Curves {
		if len(d.Points) == 0 {
			continue
		}
		fmt.Fprintf(&b, "### %s\n\n![%s](%s.png)\n\n", d.Title, d.Title, d.Curve)
		fmt.Fprintf(&b, "| %s | %s | floor | ours | ratio | spread | CPU, s per million events |\n|--:|---|--:|--:|--:|---|--:|\n", d.Axis, "what")
		for _, p := range d.Points {
			for _, m := range p.Result.Measures {
				if !d.shows(m) {
					continue
				}
				cells := m.cells()
				fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", group(float64(p.X)), strings.TrimSpace(units[m.Metric]+" "+p.Series), strings.Join(cells[:3], " | "), cells[3], number(p.CPU()))
			}
		}
		fmt.Fprintf(&b, "\n%s.\n\n", d.Points[0].Result.Settings)
	}
	return b.String()
}

// shows says whether a measure is what the curve is about: latencies where there are some, else the rate.
func (d *Drawn) shows(m Measure) bool {
	if m.Arm != oursArm {
		return false
	}
	return m.Metric == d.Metric() || m.Metric == p99
}

// Metric is what the curve shows.
func (d *Drawn) Metric() string {
	if len(d.Points) > 0 && d.Points[0].Result.Measure(oursArm, p50) != nil {
		return p50
	}
	return perSecond
}

// Unit is how a metric reads.
func Unit(metric string) string { return units[metric] }

// CPU is the processor time of ours for a million events, of all processes that were seen.
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

// Ours is the measure of a metric of ours; nil when there is none.
func (p Point) Ours(metric string) *Measure { return p.Result.Measure(oursArm, metric) }
