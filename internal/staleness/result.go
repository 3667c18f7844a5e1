package staleness

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/report"
)

// A Result is that of one arm. Durations are encoded in nanoseconds.
type Result struct {
	Name     string        `json:"name"`
	Title    string        `json:"title"`
	Took     time.Duration `json:"took"`  // duration of the load
	Bound    time.Duration `json:"bound"` // including the slack
	Holds    bool          `json:"holds"` // the arm must keep its bound
	Free     bool          `json:"free,omitempty"`
	Seed     uint64        `json:"seed"`
	Versions string        `json:"-"`
	Load     string        `json:"load_average_before"` // of the machine, before the arm started
	Faults   []Window      `json:"faults,omitempty"`

	Updates       int64         `json:"updates"`       // rows
	Invalidations int64         `json:"invalidations"` // cached values that updates made stale: updates times keys of a row
	Deletions     int64         `json:"deletions"`     // keys deleted at once and by the echo; redelivery is not counted
	Reads         int64         `json:"reads"`
	HitRate       float64       `json:"hit_rate"`
	Selects       float64       `json:"selects_per_second"`
	Failed        int64         `json:"failed_reads"` // while Redis was not available
	Abandoned     int64         `json:"abandoned_fills"`
	LongestFill   time.Duration `json:"longest_fill"`

	StaleReads      int           `json:"stale_reads"`
	StalePerMillion float64       `json:"stale_per_million"`
	P50             time.Duration `json:"p50"` // of the staleness of stale reads
	P99             time.Duration `json:"p99"`
	P999            time.Duration `json:"p99.9"`
	Longest         time.Duration `json:"longest"`
	Violations      int           `json:"violations"`
	Overdue         int           `json:"overdue_values"` // values that violations found, each counted once
	Worst           []string      `json:"worst,omitempty"`

	Cached          int      `json:"cached"`
	Stuck           int      `json:"stuck"`
	StuckPerMillion float64  `json:"stuck_per_million"` // per million invalidations
	StuckUpper      float64  `json:"stuck_upper_95"`    // upper bound of StuckPerMillion with 95 % confidence
	StuckKeys       []string `json:"stuck_keys,omitempty"`

	Survival []Point  `json:"survival,omitempty"`
	Seconds  []Second `json:"seconds,omitempty"`
}

// A Point of the survival curve is how many reads per million found a value that had been stale for longer than a time.
type Point struct {
	Longer  float64 `json:"longer_than"` // s
	Million float64 `json:"per_million"`
}

func (e *environment) result(took time.Duration, w *writers, rd *readers) *Result {
	r := &Result{
		Name: e.arm.Name, Title: e.arm.Title, Took: e.cfg.Duration, Holds: e.arm.Holds, Free: e.arm.Free, Seed: e.cfg.Seed, Load: e.loadBefore,
		Updates: w.updates.Load(), Reads: rd.reads.Load(), Failed: rd.failed.Load(), Abandoned: rd.abandoned.Load(),
		LongestFill: time.Duration(rd.longest.Load()),
	}
	r.Invalidations = r.Updates * int64(len(pages))
	switch e.arm.Method {
	case byEvents:
		r.Deletions = r.Invalidations * int64(e.arm.consumers())
	case delAfter, delBefore:
		r.Deletions = r.Invalidations - w.forgot.Load()*int64(len(pages))
	}
	r.HitRate = float64(rd.hitCount()) / float64(max(r.Reads, 1))
	r.Selects = float64(rd.selects.Load()) / took.Seconds()
	return r
}

// evaluate adds what the oracle found.
func (r *Result) evaluate(oracle *Oracle, bound time.Duration, windows []Window) {
	f := oracle.findings(bound, windows)
	r.Bound, r.Faults = bound, windows
	r.StaleReads, r.StalePerMillion = len(f.stale), share(len(f.stale), r.Reads)
	r.Violations, r.Overdue = f.violations, f.overdue
	r.P50, r.P99, r.P999, r.Longest = report.Quantile(f.stale, 0.5), report.Quantile(f.stale, 0.99), report.Quantile(f.stale, 0.999), report.Quantile(f.stale, 1)
	for _, w := range f.worst {
		r.Worst = append(r.Worst, fmt.Sprintf("row %d version %d, superseded at %.3fs, found at %.3fs", w.row, w.version, w.superseded.Seconds(), w.began.Seconds()))
	}
	r.Survival = survival(f.stale, r.Reads)
	r.Seconds = oracle.seconds(int(r.Took / time.Second))
}

// survival returns ten points for each power of ten, beginning at 100 µs.
func survival(sorted []time.Duration, reads int64) (points []Point) {
	for exponent := -4.0; len(sorted) > 0; exponent += 0.1 {
		longer := math.Pow(10, exponent)
		i, _ := slices.BinarySearch(sorted, time.Duration(longer*float64(time.Second)))
		if i == len(sorted) {
			points = append(points, Point{sorted[i-1].Seconds(), share(1, reads)})
			break
		}
		points = append(points, Point{longer, share(len(sorted)-i, reads)})
	}
	return points
}

// share returns part of whole in millionths.
func share(part int, whole int64) float64 { return 1e6 * float64(part) / float64(max(whole, 1)) }

// upper95 returns the upper bound of the share that k of n estimates, with 95 % confidence: 3/n if k is 0, otherwise that of
// Wilson.
func upper95(k int, n int64) float64 {
	if n == 0 {
		return 1
	}
	if k == 0 {
		return 3 / float64(n)
	}
	const z = 1.6449 // one-sided
	p, total := float64(k)/float64(n), float64(n)
	return (p + z*z/(2*total) + z*math.Sqrt(p*(1-p)/total+z*z/(4*total*total))) / (1 + z*z/total)
}

// Err returns an error if an arm broke a promise that it must keep, or kept one that it must break.
func (r *Result) Err() error {
	caught := r.Stuck > 0 || r.Violations > 0
	switch {
	case r.Holds && caught:
		return fmt.Errorf("arm %s (%s): %d stuck keys %q, %d violations of %s %q", r.Name, r.Title, r.Stuck, r.StuckKeys, r.Violations, r.Bound, r.Worst)
	case !r.Holds && !r.Free && !caught:
		return fmt.Errorf("arm %s (%s): no stuck key and no violation found, want some: the oracle does not work", r.Name, r.Title)
	}
	return nil
}
