package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Scenario is one question: how fast is it beside the floor?
type Scenario struct {
	Name  string
	Short string // what is measured, in a few words
	Title string // what is measured, and beside what

	alone    bool // is played only when it is named
	needs    []string
	defaults Settings
	targets  []target
	open     func(ctx context.Context, l *lab) (*bout, error)
}

// A bout is what a scenario compares. The first arm is the floor and the second ours; others stand beside. With one
// arm alone there is no floor.
type bout struct {
	arms  []arm
	close func() error // may be nil
}

// An arm is one way to do it. run prepares, measures from m.start to m.stop, and cleans up.
type arm struct {
	name string
	run  func(ctx context.Context, m *meter) error
}

// Names of metrics.
const (
	perSecond = "events_per_second"
	p50       = "p50_ms"
	p90       = "p90_ms"
	p99       = "p99_ms"
	p999      = "p999_ms"
	longest   = "longest_ms"
)

// A target says what is wanted of a metric of ours.
type target struct {
	metric string
	ratio  bool // of its ratio to the floor; else of itself
	least  float64
	most   float64 // 0: no upper bound, and least counts
}

func atLeast(metric string, ratio float64) target {
	return target{metric: metric, ratio: true, least: ratio}
}
func atMost(metric string, ratio float64) target {
	return target{metric: metric, ratio: true, most: ratio}
}

// Scenarios are all there are, in the order in which they are played.
func Scenarios() []*Scenario {
	return []*Scenario{
		drain(), drainR3(), steady(), wake(), writer(), latency(), invalidating(), fanOut(), tags(), longTransaction(), backfill(), auditing(), fleet(), idle(), waiting(),
	}
}

// Find returns the scenarios of these names; "all" is those that are not only for themselves.
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

// Run plays a scenario and removes what it made.
func (s *Scenario) Run(ctx context.Context, cfg Config) (_ *Result, err error) {
	if err := cfg.Settings.Check(); err != nil {
		return nil, err
	}
	set := cfg.Settings.or(s.defaults)
	l, err := openLab(ctx, &cfg, set, s.needs)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name, err)
	}
	defer func() { err = errors.Join(err, l.close(ctx)) }()
	samples, err := s.play(ctx, l)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name, err)
	}
	return s.judge(l, samples), nil
}

// play takes turns.
func (s *Scenario) play(ctx context.Context, l *lab) (samples []Sample, err error) {
	b, err := s.open(ctx, l)
	if err != nil {
		return nil, err
	}
	if b.close != nil {
		defer func() { err = errors.Join(err, b.close()) }()
	}
	if l.cfg.Lean {
		b.arms = b.arms[:min(2, len(b.arms))]
	}
	for round := range l.set.Runs {
		for _, arm := range b.arms {
			m := &meter{l: l, sample: Sample{Scenario: s.Name, Arm: arm.name, Round: round}}
			err := arm.run(ctx, m)
			if err = errors.Join(err, m.err); err != nil {
				return nil, fmt.Errorf("run %d of %s: %w", round+1, arm.name, err)
			}
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			samples = append(samples, m.sample)
			l.cfg.say("  %-16s run %d/%d  %-22s %s", s.Name, round+1, l.set.Runs, arm.name, m.sample.line())
		}
	}
	return samples, nil
}
