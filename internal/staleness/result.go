package staleness

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// A Result is what one arm came to. Times are in nanoseconds.
type Result struct {
	Name     string        `json:"name"`
	Title    string        `json:"title"`
	Took     time.Duration `json:"took"`  // of the load
	Bound    time.Duration `json:"bound"` // slack included
	Holds    bool          `json:"holds"` // it has to keep its bound
	Free     bool          `json:"free,omitempty"`
	Seed     uint64        `json:"seed"`
	Versions string        `json:"-"`
	Busy     string        `json:"load_average_before"` // of the machine: others may use it
	Faults   []Window      `json:"faults,omitempty"`

	Updates       int64         `json:"updates"`       // rows
	Invalidations int64         `json:"invalidations"` // cached values that updates made stale: keys by updates
	Deletions     int64         `json:"deletions"`     // keys deleted, by now and echo, replays not counted
	Reads         int64         `json:"reads"`
	HitRate       float64       `json:"hit_rate"`
	Selects       float64       `json:"selects_per_second"`
	Failed        int64         `json:"failed_reads"` // Redis was away
	Abandoned     int64         `json:"abandoned_fills"`
	LongestFill   time.Duration `json:"longest_fill"`

	StaleReads      int           `json:"stale_reads"`
	StalePerMillion float64       `json:"stale_per_million"`
	P50             time.Duration `json:"p50"` // of the staleness of stale reads
	P99             time.Duration `json:"p99"`
	P999            time.Duration `json:"p99.9"`
	Longest         time.Duration `json:"longest"`
	Violations      int           `json:"violations"`
	Overdue         int           `json:"overdue_values"` // that violations found, each counted once
	Worst           []string      `json:"worst,omitempty"`

	Cached          int      `json:"cached"`
	Stuck           int      `json:"stuck"`
	StuckPerMillion float64  `json:"stuck_per_million"` // invalidations
	StuckUpper      float64  `json:"stuck_upper_95"`    // the same, upper bound with 95 % confidence
	StuckKeys       []string `json:"stuck_keys,omitempty"`

	Survival []Point  `json:"survival,omitempty"`
	Seconds  []Second `json:"seconds,omitempty"`
}

// A Point says how many reads per million found a value stale for longer.
type Point struct {
	Longer  float64 `json:"longer_than"` // s
	Million float64 `json:"per_million"`
}

func (s *stage) result(took time.Duration, w *writers, rd *readers) *Result {
	r := &Result{
		Name: s.arm.Name, Title: s.arm.Title, Took: s.cfg.Duration, Holds: s.arm.Holds, Free: s.arm.Free, Seed: s.cfg.Seed, Busy: s.busy,
		Updates: w.updates.Load(), Reads: rd.reads.Load(), Failed: rd.failed.Load(), Abandoned: rd.abandoned.Load(),
		LongestFill: time.Duration(rd.longest.Load()),
	}
	r.Invalidations = r.Updates * int64(len(pages))
	switch s.arm.Method {
	case byEvents:
		r.Deletions = r.Invalidations * int64(s.arm.lanes())
	case delAfter, delBefore:
		r.Deletions = r.Invalidations - w.forgot.Load()*int64(len(pages))
	}
	r.HitRate = float64(rd.count()) / float64(max(r.Reads, 1))
	r.Selects = float64(rd.selects.Load()) / took.Seconds()
	return r
}

func (r *Result) judge(oracle *Oracle, bound time.Duration, windows []Window) {
	v := oracle.verdict(bound, windows)
	r.Bound, r.Faults = bound, windows
	r.StaleReads, r.StalePerMillion = len(v.stale), share(len(v.stale), r.Reads)
	r.Violations, r.Overdue = v.violations, v.overdue
	r.P50, r.P99, r.P999, r.Longest = quantile(v.stale, 0.5), quantile(v.stale, 0.99), quantile(v.stale, 0.999), quantile(v.stale, 1)
	for _, w := range v.worst {
		r.Worst = append(r.Worst, fmt.Sprintf("row %d version %d, superseded at %.3fs, found at %.3fs", w.row, w.version, w.superseded.Seconds(), w.began.Seconds()))
	}
	r.Survival = survival(v.stale, r.Reads)
	r.Seconds = oracle.seconds(int(r.Took / time.Second))
}

// quantile of sorted times, 0 if there are none.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

// survival has ten points for each power of ten from 100 µs on.
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

// share is per million.
func share(part int, whole int64) float64 { return 1e6 * float64(part) / float64(max(whole, 1)) }

// upper95 is the upper end of what share k of n can be with 95 % confidence: 3/n for none, else Wilson's.
func upper95(k int, n int64) float64 {
	if n == 0 {
		return 1
	}
	if k == 0 {
		return 3 / float64(n)
	}
	const z = 1.6449 // one side
	p, total := float64(k)/float64(n), float64(n)
	return (p + z*z/(2*total) + z*math.Sqrt(p*(1-p)/total+z*z/(4*total*total))) / (1 + z*z/total)
}

// Err says what an arm that has to hold broke, or that one that has to be caught was not.
func (r *Result) Err() error {
	caught := r.Stuck > 0 || r.Violations > 0
	switch {
	case r.Holds && caught:
		return fmt.Errorf("arm %s (%s): %d stuck keys %q, %d violations of %s %q", r.Name, r.Title, r.Stuck, r.StuckKeys, r.Violations, r.Bound, r.Worst)
	case !r.Holds && !r.Free && !caught:
		return fmt.Errorf("arm %s (%s): nothing was found, so the oracle sees nothing", r.Name, r.Title)
	}
	return nil
}
