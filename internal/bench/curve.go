package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// A Curve is a scenario with several values of one setting.
type Curve struct {
	Name  string
	Title string
	Axis  string // the setting that varies, with its unit

	scenario *Scenario
	series   []series // a single one has no name
}

// A series is one line of a curve.
type series struct {
	name   string
	values []int
	set    func(s *Settings, v int)
}

// A Point is the result for one value of the setting.
type Point struct {
	Series string  `json:"series,omitzero"`
	X      int     `json:"x"`
	Result *Result `json:"result"`
}

// A CurveResult is the points of a curve.
type CurveResult struct {
	Curve  string  `json:"curve"`
	Title  string  `json:"title"`
	Axis   string  `json:"axis"`
	Points []Point `json:"points"`
}

// Curves returns all curves.
func Curves() []*Curve {
	one := func(values []int, set func(*Settings, int)) []series { return []series{{"", values, set}} }
	return []*Curve{
		{Name: "payload", Title: "Rate of a backlog by payload", Axis: "bytes per event", scenario: drain(),
			series: one([]int{100, 200, 1000, 4096, 16384, 65536}, func(s *Settings, v int) {
				s.Payload, s.Events = v, min(s.Events, max(5_000, int(payloadBudget)/v))
			})},
		{Name: "batch", Title: "Rate of a backlog by batch and window", Axis: "events", scenario: drain(), series: []series{
			{"batch, window 8192", []int{64, 256, 1024, 4096, 16384}, func(s *Settings, v int) { s.Batch = v }},
			{"window, batch 4096", []int{64, 256, 1024, 4096, 8192}, func(s *Settings, v int) { s.Window = v }},
		}},
		{Name: "backlog", Title: "Rate of a backlog by its size", Axis: "rows waiting", scenario: drain(),
			series: one([]int{10_000, 100_000, 1_000_000, 10_000_000}, func(s *Settings, v int) { s.Events = v })},
		{Name: "writers", Title: "Rate of commits by clients", Axis: "clients", scenario: writer(),
			series: one([]int{1, 2, 4, 8, 16, 32, 64}, func(s *Settings, v int) { s.Clients = v })},
		{Name: "partitions", Title: "Latency of a wake-up by partitions", Axis: "partitions", scenario: wake(),
			series: one([]int{5, 20, 50, 100, 200}, func(s *Settings, v int) { s.Parts = v })},
		{Name: "keys", Title: "Rate of invalidation by keys per event", Axis: "keys per event", scenario: invalidation(),
			series: one([]int{1, 2, 10, 100, 1000}, func(s *Settings, v int) { s.Keys, s.Events = v, min(s.Events, max(500, keyBudget/v)) })},
		{Name: "relays", Title: "Rate of several relays on one NATS", Axis: "relays, each with an outbox", scenario: relays(),
			series: one([]int{1, 2, 4, 8}, func(s *Settings, v int) { s.Instances = v })},
		{Name: "invalidators", Title: "Rate of several invalidators of one consumer", Axis: "invalidators", scenario: invalidation(),
			series: one([]int{1, 2, 4}, func(s *Settings, v int) { s.Instances = v })},
	}
}

const (
	payloadBudget = 512 << 20 // bytes of payload in a run of the curve payload
	keyBudget     = 500_000   // keys in a run of the curve keys
	curveRuns     = 3         // default of Settings.Runs for curves
	curveEvents   = 200_000   // upper limit of the default of Settings.Events for curves
)

// FindCurve returns the curve with a name.
func FindCurve(name string) (*Curve, error) {
	all := Curves()
	i := slices.IndexFunc(all, func(c *Curve) bool { return c.Name == name })
	if i >= 0 {
		return all[i], nil
	}
	var known []string
	for _, c := range all {
		known = append(known, c.Name)
	}
	return nil, fmt.Errorf("curve %q: want %s", name, strings.Join(known, ", "))
}

// Run runs the scenario with each value. If it returns an error, it also returns the points before it.
func (c *Curve) Run(ctx context.Context, cfg Config) (*CurveResult, error) {
	d := &CurveResult{Curve: c.Name, Title: c.Title, Axis: c.Axis}
	if cfg.Runs == 0 {
		cfg.Runs = curveRuns
	}
	limit := cfg.Events
	for _, series := range c.series {
		for _, v := range series.values {
			at := cfg
			at.Lean = true
			if at.Events == 0 {
				at.Events = min(curveEvents, c.scenario.defaults.Events)
			}
			series.set(&at.Settings, v)
			if limit > 0 && at.Events > limit {
				if c.Name == "backlog" {
					continue // the curve has a smaller value
				}
				at.Events = limit
			}
			cfg.progress("%s %s %d", c.Name, series.name, v)
			r, err := c.scenario.Run(ctx, at)
			if err != nil {
				return d, fmt.Errorf("curve %s at %d: %w", c.Name, v, err)
			}
			d.Points = append(d.Points, Point{series.name, v, r})
		}
	}
	return d, nil
}
