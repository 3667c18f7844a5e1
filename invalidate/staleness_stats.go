package invalidate

import (
	"sync"
	"time"
)

// StalenessStats counts what one staleness check found since New.
type StalenessStats struct {
	Consumer string        // name of the durable consumer
	Scale    time.Duration // time after an event at which its keys are checked
	Tally
	Bound95       float64   // Tally.Bound
	LastViolation time.Time // when the last violation was found; zero if none was
}

// A Tally counts what staleness checks found. Each checked key is absent, clean, suspect or a violation.
type Tally struct {
	Events     int64 `json:"events"`     // events received
	Sampled    int64 `json:"sampled"`    // of these, events whose keys were checked
	Checked    int64 `json:"checked"`    // keys checked
	Absent     int64 `json:"absent"`     // keys without a value, which is consistent
	Clean      int64 `json:"clean"`      // keys whose value cannot be older than the event
	Suspect    int64 `json:"suspect"`    // keys whose value may or may not be older than the event
	NoTTL      int64 `json:"no_ttl"`     // of the suspects, keys that never expire although their rule has a ttl
	Violations int64 `json:"violations"` // keys whose value is older than the event
}

// Add adds the counts of another tally.
func (t *Tally) Add(u Tally) {
	t.Events += u.Events
	t.Sampled += u.Sampled
	t.Checked += u.Checked
	t.Absent += u.Absent
	t.Clean += u.Clean
	t.Suspect += u.Suspect
	t.NoTTL += u.NoTTL
	t.Violations += u.Violations
}

// Bound returns the upper bound, at 95 % confidence, of the share of violations among the keys that could be evaluated,
// which excludes the suspects. It is 1 if none could be.
func (t Tally) Bound() float64 { return Bound(t.Violations, t.Checked-t.Suspect) }

// count counts one key by its verdict.
func (t *Tally) count(v verdict) {
	t.Checked++
	switch v {
	case absent:
		t.Absent++
	case clean:
		t.Clean++
	case missed, old:
		t.Violations++
	default:
		t.Suspect++
		if v == noTTL {
			t.NoTTL++
		}
	}
}

const (
	violationInterval = time.Second // minimum time between two logged violations
	lastViolations    = 10          // violations of one consumer that are kept with all details
)

// A stalenessRecord is what one staleness check found. It continues across reloads of the rules. Safe for concurrent
// use.
type stalenessRecord struct {
	mu       sync.Mutex
	now      Findings
	last     time.Time // of the last violation
	logged   time.Time // when a violation was last logged
	unlogged int64     // violations since then
}

func (r *stalenessRecord) add(t Tally) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now.Tally.Add(t)
}

// addViolation stores a violation, and logs it if none was logged within violationInterval.
func (r *stalenessRecord) addViolation(v Violation, c *consumer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v.Consumer, v.Scale, v.Instance = r.now.Consumer, r.now.Scale, r.now.Instance
	if len(r.now.Last) == lastViolations {
		r.now.Last = append(r.now.Last[:0:0], r.now.Last[1:]...) // a copy: findings may have returned the old array
	}
	r.now.Last = append(r.now.Last, v)
	r.last = v.Time
	if v.Time.Sub(r.logged) < violationInterval {
		r.unlogged++
		return
	}
	c.log.Warn("stale value found in the cache", append(v.attributes(), "n", r.unlogged+1)...)
	r.logged, r.unlogged = v.Time, 0
}

func (r *stalenessRecord) stats() StalenessStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return StalenessStats{
		Consumer: r.now.Consumer, Scale: r.now.Scale, Tally: r.now.Tally, Bound95: r.now.Bound(), LastViolation: r.last,
	}
}

// findings returns what the record contains now.
func (r *stalenessRecord) findings() Findings {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.now
	f.Last = f.Last[:len(f.Last):len(f.Last)]
	return f
}
