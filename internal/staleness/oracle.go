package staleness

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// An Oracle decides which of the values that readers found in the cache were stale. It is safe for concurrent use.
type Oracle struct {
	ledger *Ledger

	mu    sync.Mutex
	stale []staleRead
}

// A staleRead is a read that found an old version.
type staleRead struct {
	began, superseded time.Duration
	row, version      int32
}

func (r staleRead) staleness() time.Duration { return r.began - r.superseded }

// NewOracle returns an oracle for the commits of a ledger.
func NewOracle(ledger *Ledger) *Oracle { return &Oracle{ledger: ledger} }

// Found records that a read, which began at a time, found a version in the cache.
func (o *Oracle) Found(row, version int, began time.Duration) {
	superseded, ok := o.ledger.Superseded(row, version)
	o.mu.Lock()
	defer o.mu.Unlock()
	if ok && superseded < began {
		o.stale = append(o.stale, staleRead{began, superseded, int32(row), int32(version)}) // #nosec G115 -- both are small
	}
}

// A Window is the time of a fault.
type Window struct {
	Fault  string        `json:"fault"`
	From   time.Duration `json:"from"`   // when it was injected
	Healed time.Duration `json:"healed"` // when it was repaired
	To     time.Duration `json:"to"`     // when everything published before Healed was processed
	Note   string        `json:"note,omitempty"`
}

// deadline returns the latest time at which a value that was superseded at some time may be found. A window that overlaps
// the allowed time restarts that time at the window's end. windows must be sorted by their beginning.
func deadline(superseded, bound time.Duration, windows []Window) time.Duration {
	until := superseded + bound
	for _, w := range windows {
		if w.From < until && w.To > superseded {
			until = max(until, w.To+bound)
		}
	}
	return until
}

// findings are what an oracle has found.
type findings struct {
	stale      []time.Duration // staleness of each stale read, sorted
	violations int             // reads after the deadline of the value they found
	overdue    int             // values that such reads found, each counted once
	worst      []staleRead     // the stalest violations, at most ten
}

// findings compares all stale reads with a bound.
func (o *Oracle) findings(bound time.Duration, windows []Window) findings {
	o.mu.Lock()
	defer o.mu.Unlock()
	windows = slices.SortedFunc(slices.Values(windows), func(a, b Window) int { return cmp.Compare(a.From, b.From) })
	type value struct{ row, version int32 }
	values := make(map[value]struct{})
	var f findings
	for _, r := range o.stale {
		f.stale = append(f.stale, r.staleness())
		if r.began > deadline(r.superseded, bound, windows) {
			f.violations++
			values[value{r.row, r.version}] = struct{}{}
			f.worst = append(f.worst, r)
		}
	}
	f.overdue = len(values)
	slices.Sort(f.stale)
	slices.SortFunc(f.worst, func(a, b staleRead) int { return cmp.Compare(b.staleness(), a.staleness()) })
	f.worst = f.worst[:min(len(f.worst), 10)]
	return f
}

// A Second counts the stale reads in one second of an arm.
type Second struct {
	Stale   int           `json:"stale"`
	Longest time.Duration `json:"longest"`
}

func (o *Oracle) seconds(n int) []Second {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := make([]Second, n)
	for _, r := range o.stale {
		if i := int(r.began / time.Second); i < n {
			out[i].Stale++
			out[i].Longest = max(out[i].Longest, r.staleness())
		}
	}
	return out
}
