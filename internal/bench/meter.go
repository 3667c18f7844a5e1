package bench

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/report"
)

// A Sample is one run of one arm.
type Sample struct {
	Scenario string             `json:"-"`
	Arm      string             `json:"arm"`
	Round    int                `json:"round"`
	Events   int                `json:"events"`
	Seconds  float64            `json:"seconds"`
	Values   map[string]float64 `json:"values"` // by metric
	Costs    map[string]Cost    `json:"costs"`  // by process
	Allocs   uint64             `json:"allocs"` // of this process
	Busy     float64            `json:"busy"`   // share of all processors of the machine that was in use
}

// A meter measures one run: what an arm does between start and stop.
type meter struct {
	s      *session
	sample Sample

	began   time.Time
	costs   map[string]Cost
	machine time.Duration
	mallocs uint64
	profile *profile
	err     error // of the profile
}

// start begins the measurement. It collects the garbage of the preparations first.
func (m *meter) start() {
	runtime.GC()
	m.profile, m.err = m.startProfile()
	forgetPeak(os.Getpid())
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	m.mallocs = mem.Mallocs
	m.costs = m.s.costs()
	m.machine = machine()
	m.began = time.Now()
}

// stop ends the measurement. Costs are divided by events.
func (m *meter) stop(events int) {
	took := time.Since(m.began)
	busy := machine() - m.machine
	m.err = errors.Join(m.err, m.profile.stop())
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	m.sample.Allocs = mem.Mallocs - m.mallocs
	m.sample.Events, m.sample.Seconds = events, took.Seconds()
	m.sample.Costs = make(map[string]Cost)
	rest := busy
	for name, now := range m.s.costs() {
		used := now.CPU - m.costs[name].CPU
		m.sample.Costs[name] = Cost{CPU: used, Peak: now.Peak}
		rest -= used
	}
	if busy > 0 {
		m.sample.Costs[procRest] = Cost{CPU: max(rest, 0)}
		m.sample.Busy = busy.Seconds() / took.Seconds() / float64(runtime.NumCPU())
	}
	m.value(perSecond, float64(events)/took.Seconds())
}

// value records a metric.
func (m *meter) value(name string, v float64) {
	if m.sample.Values == nil {
		m.sample.Values = make(map[string]float64)
	}
	m.sample.Values[name] = v
}

// latencies records quantiles of durations, in milliseconds.
func (m *meter) latencies(all []time.Duration) {
	slices.Sort(all)
	for _, q := range []struct {
		name string
		at   float64
	}{{p50, 0.5}, {p90, 0.9}, {p99, 0.99}, {p999, 0.999}, {longest, 1}} {
		m.value(q.name, float64(report.Quantile(all, q.at).Nanoseconds())/1e6)
	}
}

// costs reads what the visible processes have used so far.
func (s *session) costs() map[string]Cost {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]Cost, len(s.procs))
	for name, read := range s.procs {
		out[name] = read()
	}
	return out
}
