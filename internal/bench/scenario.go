package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Scenario measures one thing and compares it with a floor.
type Scenario struct {
	Name  string
	Short string // what is measured, in a few words
	Title string // what is measured, and what it is compared with

	alone    bool // "all" does not include it
	needs    []string
	defaults Settings
	targets  []target
	open     func(ctx context.Context, s *session) (*comparison, error)
}

// A comparison is the arms of a scenario. The first arm is the floor and the second is ours; others have no target. A single
// arm is ours, without a floor.
type comparison struct {
	arms  []arm
	close func() error // may be nil
}

// An arm is one way to do the work. run prepares it, measures from m.start to m.stop, and cleans up.
type arm struct {
	name string
	run  func(ctx context.Context, m *meter) error
}

// oursArm is the name of the arm that uses the relay or the invalidator.
const oursArm = "ours"

// Names of metrics.
const (
	perSecond     = "events_per_second"
	keysPerSecond = "keys_per_second"
	p50           = "p50_ms"
	p90           = "p90_ms"
	p99           = "p99_ms"
	p999          = "p999_ms"
	longest       = "longest_ms"
	allocations   = "allocations_per_event"
)

// A target is a bound for a metric of ours.
type target struct {
	metric string
	ratio  bool // the bound is for the ratio to the floor; otherwise for the value
	least  float64
	most   float64 // applies if least is 0
}

func atLeast(metric string, ratio float64) target {
	return target{metric: metric, ratio: true, least: ratio}
}
func atMost(metric string, ratio float64) target {
	return target{metric: metric, ratio: true, most: ratio}
}

// Scenarios returns all scenarios in the order in which they run.
func Scenarios() []*Scenario {
	return []*Scenario{
		drain(), drainR3(), steady(), wake(), writer(), latency(), invalidation(), fanOut(), tags(), longTransaction(), backfill(), auditing(), relays(), idle(), waiting(),
	}
}

// Find returns the scenarios with these names. The name all stands for all scenarios that do not take very long.
func Find(names ...string) ([]*Scenario, error) {
	var out []*Scenario
	var known []string
	all := Scenarios()
	for _, s := range all {
		known = append(known, s.Name)
	}
	for _, name := range names {
		i := slices.IndexFunc(all, func(s *Scenario) bool { return s.Name == name })
		switch {
		case name == "all":
			for _, s := range all {
				if !s.alone {
					out = append(out, s)
				}
			}
		case i < 0:
			return nil, fmt.Errorf("scenario %q: want all, %s", name, strings.Join(known, ", "))
		default:
			out = append(out, all[i])
		}
	}
	return out, nil
}

// Run runs a scenario and removes everything that it created.
func (c *Scenario) Run(ctx context.Context, cfg Config) (_ *Result, err error) {
	if err := cfg.Settings.Check(); err != nil {
		return nil, err
	}
	s, err := openSession(ctx, &cfg, cfg.Settings.or(c.defaults), c.needs)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	defer func() { err = errors.Join(err, s.close(ctx)) }()
	samples, err := c.measureAll(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	return c.evaluate(s, samples), nil
}

// measureAll runs the arms in turns.
func (c *Scenario) measureAll(ctx context.Context, s *session) (samples []Sample, err error) {
	compared, err := c.open(ctx, s)
	if err != nil {
		return nil, err
	}
	if compared.close != nil {
		defer func() { err = errors.Join(err, compared.close()) }()
	}
	if s.cfg.Lean {
		compared.arms = compared.arms[:min(2, len(compared.arms))]
	}
	for round := range s.set.Runs {
		for _, arm := range compared.arms {
			m := &meter{s: s, sample: Sample{Scenario: c.Name, Arm: arm.name, Round: round}}
			err := arm.run(ctx, m)
			if err = errors.Join(err, m.err); err != nil {
				return nil, fmt.Errorf("run %d of %s: %w", round+1, arm.name, err)
			}
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			samples = append(samples, m.sample)
			s.cfg.progress("  %-16s run %d/%d  %-22s %s", c.Name, round+1, s.set.Runs, arm.name, m.sample.line())
		}
	}
	return samples, nil
}
