package bench

import (
	"cmp"
	"slices"
	"time"
)

// A Result is that of a scenario.
type Result struct {
	Scenario   string    `json:"scenario"`
	Title      string    `json:"title"`
	Settings   Settings  `json:"settings"`
	Measured   time.Time `json:"measured"`
	Floor      string    `json:"floor,omitzero"` // name of the floor's arm; empty if there is none
	Measures   []Measure `json:"measures"`
	Arms       []Use     `json:"arms"`
	Bottleneck string    `json:"bottleneck"` // what limited ours
	Notes      []string  `json:"notes,omitempty"`
	Samples    []Sample  `json:"samples"`
}

// A Measure is a metric of an arm, and its ratio to the floor.
type Measure struct {
	Arm    string  `json:"arm"`
	Metric string  `json:"metric"`
	Floor  float64 `json:"floor,omitzero"` // median of the runs
	Value  float64 `json:"value"`          // median of the runs
	Least  float64 `json:"least"`          // of the runs
	Most   float64 `json:"most"`

	Ratio      float64 `json:"ratio,omitzero"` // median of value ÷ floor over all pairs of adjacent runs
	RatioLeast float64 `json:"ratio_least,omitzero"`
	RatioMost  float64 `json:"ratio_most,omitzero"`

	Want string `json:"want,omitzero"` // the target, such as "ratio >= 0.90"; empty if there is none
	Met  *bool  `json:"met,omitempty"` // whether the target was met
}

// A Use is what an arm used: medians of its runs.
type Use struct {
	Arm        string             `json:"arm"`
	CPU        map[string]float64 `json:"cpu_s_per_million_events"` // by process
	Cores      map[string]float64 `json:"cores"`                    // CPU time by elapsed time: 1 is one processor that is always busy
	PeakMiB    map[string]float64 `json:"peak_rss_mib,omitempty"`
	AllocsEach float64            `json:"allocations_per_event,omitzero"` // in this process
	Busy       float64            `json:"busy"`                           // share of all processors
}

// Missed returns the measures that miss their targets.
func (r *Result) Missed() (out []Measure) {
	for _, m := range r.Measures {
		if m.Met != nil && !*m.Met {
			out = append(out, m)
		}
	}
	return out
}

// Measure returns the measure of a metric of an arm; nil if there is none.
func (r *Result) Measure(arm, metric string) *Measure {
	i := slices.IndexFunc(r.Measures, func(m Measure) bool { return m.Arm == arm && m.Metric == metric })
	if i < 0 {
		return nil
	}
	return &r.Measures[i]
}

// evaluate summarizes samples.
func (c *Scenario) evaluate(s *session, samples []Sample) *Result {
	r := &Result{Scenario: c.Name, Title: c.Title, Settings: s.set, Measured: time.Now().UTC().Truncate(time.Second), Samples: samples}
	r.Notes = append(append(r.Notes, s.servers.Notes...), s.notes...)
	var arms []string
	for _, sample := range samples {
		if !slices.Contains(arms, sample.Arm) {
			arms = append(arms, sample.Arm)
		}
	}
	if len(arms) > 1 {
		r.Floor = arms[0]
	}
	for _, arm := range arms {
		runs := samplesOf(samples, arm)
		use := newUse(arm, runs)
		r.Arms = append(r.Arms, use)
		if arm == oursArm {
			r.Bottleneck = bottleneck(use)
		}
		if arm == r.Floor {
			continue
		}
		for _, metric := range metrics(runs) {
			r.Measures = append(r.Measures, c.measure(arm, metric, runs, samplesOf(samples, r.Floor)))
		}
		if arm == oursArm && c.hasTarget(allocations) && use.AllocsEach > 0 {
			r.Measures = append(r.Measures, c.compare(Measure{Arm: arm, Metric: allocations, Value: use.AllocsEach, Least: use.AllocsEach, Most: use.AllocsEach}))
		}
	}
	return r
}

func (c *Scenario) hasTarget(metric string) bool {
	return slices.ContainsFunc(c.targets, func(t target) bool { return t.metric == metric })
}

// samplesOf returns the samples of an arm.
func samplesOf(samples []Sample, arm string) (out []Sample) {
	for _, s := range samples {
		if s.Arm == arm {
			out = append(out, s)
		}
	}
	return out
}

// ranks is the order of metrics in a report. Other metrics follow.
var ranks = []string{perSecond, keysPerSecond, p50, p90, p99, p999, longest}

// metrics returns the names of the metrics in the order of ranks.
func metrics(runs []Sample) (names []string) {
	for name := range runs[0].Values {
		names = append(names, name)
	}
	rank := func(name string) int {
		if i := slices.Index(ranks, name); i >= 0 {
			return i
		}
		return len(ranks)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b)) })
	return names
}

// measure summarizes a metric of an arm, paired with the runs of the floor.
func (c *Scenario) measure(arm, metric string, runs, floor []Sample) Measure {
	m := Measure{Arm: arm, Metric: metric}
	values, floors, ratios := values(runs, metric), values(floor, metric), []float64(nil)
	m.Value, m.Least, m.Most = median(values), slices.Min(values), slices.Max(values)
	if len(floors) > 0 {
		m.Floor = median(floors)
	}
	for i := range min(len(values), len(floors)) {
		if floors[i] > 0 {
			ratios = append(ratios, values[i]/floors[i])
		}
	}
	if len(ratios) > 0 {
		m.Ratio, m.RatioLeast, m.RatioMost = median(ratios), slices.Min(ratios), slices.Max(ratios)
	}
	if arm != oursArm {
		return m
	}
	return c.compare(m)
}

// compare compares a measure with its target.
func (c *Scenario) compare(m Measure) Measure {
	for _, t := range c.targets {
		if t.metric != m.Metric {
			continue
		}
		value := m.Value
		if t.ratio {
			value = m.Ratio
		}
		met := value >= t.least
		if t.least == 0 {
			met = value <= t.most
		}
		m.Want, m.Met = t.String(), &met
	}
	return m
}

func values(runs []Sample, metric string) (out []float64) {
	for _, s := range runs {
		if v, ok := s.Values[metric]; ok {
			out = append(out, v)
		}
	}
	return out
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// newUse summarizes what an arm used.
func newUse(arm string, runs []Sample) Use {
	u := Use{Arm: arm, CPU: map[string]float64{}, Cores: map[string]float64{}, PeakMiB: map[string]float64{}}
	pick := func(each func(Sample) float64) float64 {
		var all []float64
		for _, s := range runs {
			all = append(all, each(s))
		}
		return median(all)
	}
	for name := range runs[0].Costs {
		u.CPU[name] = pick(func(s Sample) float64 { return s.Costs[name].CPU.Seconds() / float64(max(s.Events, 1)) * 1e6 })
		u.Cores[name] = pick(func(s Sample) float64 { return s.Costs[name].CPU.Seconds() / s.Seconds })
		if peak := pick(func(s Sample) float64 { return float64(s.Costs[name].Peak) }); peak > 0 {
			u.PeakMiB[name] = peak / (1 << 20)
		}
	}
	u.Busy = pick(func(s Sample) float64 { return s.Busy })
	if runs[0].Events > 0 {
		u.AllocsEach = pick(func(s Sample) float64 { return float64(s.Allocs) / float64(s.Events) })
	} else {
		clear(u.CPU) // there are no events to divide by
	}
	return u
}
