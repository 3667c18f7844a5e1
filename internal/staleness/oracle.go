package staleness

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// An Oracle judges what readers found in the cache. It is safe for concurrent use.
type Oracle struct {
	ledger *Ledger

	mu    sync.Mutex
	stale []staleRead
}

// A staleRead is one that found an old version.
type staleRead struct {
	began, superseded time.Duration
	row, version      int32
}

func (r staleRead) staleness() time.Duration { return r.began - r.superseded }

// NewOracle returns one that has judged nothing.
func NewOracle(ledger *Ledger) *Oracle { return &Oracle{ledger: ledger} }

// Found judges a read that began at a time and found a version in the cache.
func (o *Oracle) Found(row, version int, began time.Duration) {
	superseded, ok := o.ledger.Superseded(row, version)
	o.mu.Lock()
	defer o.mu.Unlock()
	if ok && superseded < began {
		o.stale = append(o.stale, staleRead{began, superseded, int32(row), int32(version)}) // #nosec G115 -- both small
	}
}

// A Window is a time in which something was broken.
type Window struct {
	Fault  string        `json:"fault"`
	From   time.Duration `json:"from"`   // when it broke
	Healed time.Duration `json:"healed"` // when we had mended it
	To     time.Duration `json:"to"`     // when all that was published until then was worked off
	Note   string        `json:"note,omitempty"`
}

// deadline is until when a value may be found that was superseded at a time. Windows are sorted by their beginning. One
// that overlaps the time allowed makes it begin anew at its end.
func deadline(superseded, bound time.Duration, windows []Window) time.Duration {
	until := superseded + bound
	for _, w := range windows {
		if w.From < until && w.To > superseded {
			until = max(until, w.To+bound)
		}
	}
	return until
}

// A verdict is what an oracle found.
type verdict struct {
	stale      []time.Duration // staleness of each stale read, sorted
	violations int             // reads that came after the deadline of their value
	overdue    int             // values that such reads found, each counted once
	worst      []staleRead     // the violations that exceed their deadlines most, at most ten
}

func (o *Oracle) verdict(bound time.Duration, windows []Window) verdict {
	o.mu.Lock()
	defer o.mu.Unlock()
	windows = slices.SortedFunc(slices.Values(windows), func(a, b Window) int { return cmp.Compare(a.From, b.From) })
	type value struct{ row, version int32 }
	values := make(map[value]struct{})
	var v verdict
	for _, r := range o.stale {
		v.stale = append(v.stale, r.staleness())
		if r.began > deadline(r.superseded, bound, windows) {
			v.violations++
			values[value{r.row, r.version}] = struct{}{}
			v.worst = append(v.worst, r)
		}
	}
	v.overdue = len(values)
	slices.Sort(v.stale)
	slices.SortFunc(v.worst, func(a, b staleRead) int { return cmp.Compare(b.staleness(), a.staleness()) })
	v.worst = v.worst[:min(len(v.worst), 10)]
	return v
}

// A Second is what was found in one second of an arm.
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
