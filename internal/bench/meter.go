package bench

import (
	"errors"
	"math"
	"os"
	"runtime"
	"slices"
	"time"
)

// Sample is one run of one arm.
type Sample struct {
	Scenario string             `json:"-"`
	Arm      string             `json:"arm"`
	Round    int                `json:"round"`
	Events   int                `json:"events"`
	Seconds  float64            `json:"seconds"`
	Values   map[string]float64 `json:"values"` // by the name of the metric
	Costs    map[string]Cost    `json:"costs"`  // by process
	Allocs   uint64             `json:"allocs"` // of this process
	Busy     float64            `json:"busy"`   // share of the processors of the machine that was in use
}

// meter measures one run: what an arm does between start and stop.
type meter struct {
	l      *lab
	sample Sample

	began   time.Time
	costs   map[string]Cost
	machine time.Duration
	mallocs uint64
	profile *profile
	err     error // of the profile
}

// start begins the measurement, after the garbage of the preparations is gone.
func (m *meter) start() {
	runtime.GC()
	m.profile, m.err = m.profiled()
	forgetPeak(os.Getpid())
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	m.mallocs = mem.Mallocs
	m.costs = m.l.costs()
	m.machine = machine()
	m.began = time.Now()
}

// stop ends it. events are what the costs are divided by.
func (m *meter) stop(events int) {
	took := time.Since(m.began)
	busy := machine() - m.machine
	m.err = errors.Join(m.err, m.profile.end())
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	m.sample.Allocs = mem.Mallocs - m.mallocs
	m.sample.Events, m.sample.Seconds = events, took.Seconds()
	m.sample.Costs = make(map[string]Cost)
	rest := busy
	for name, now := range m.l.costs() {
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

// value notes one figure.
func (m *meter) value(name string, v float64) {
	if m.sample.Values == nil {
		m.sample.Values = make(map[string]float64)
	}
	m.sample.Values[name] = v
}

// latencies notes the quantiles of times, in milliseconds.
func (m *meter) latencies(all []time.Duration) {
	slices.Sort(all)
	for _, q := range []struct {
		name string
		at   float64
	}{{p50, 0.5}, {p90, 0.9}, {p99, 0.99}, {p999, 0.999}, {longest, 1}} {
		m.value(q.name, float64(quantile(all, q.at).Nanoseconds())/1e6)
	}
}

// quantile of sorted times, 0 if there are none.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

func (l *lab) costs() map[string]Cost {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[string]Cost, len(l.procs))
	for name, look := range l.procs {
		out[name] = look()
	}
	return out
}
