package invalidate

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// Audit is what one audit consumer found since New. Some time after an event, its scale, an audit looks at the keys of
// the event in Redis and says whether what is there can be older than the event: a violation is a stale value that has
// survived that scale.
type Audit struct {
	Consumer string        // its name
	Scale    time.Duration // how long after an event its keys are looked at
	Tally
	Bound95       float64   // Tally.Bound
	LastViolation time.Time // when the last one was found; zero: none
}

// A Tally counts what audits saw. Of the keys checked, each is one of absent, clean, suspect and violation.
type Tally struct {
	Events     int64 `json:"events"`     // seen
	Sampled    int64 `json:"sampled"`    // of these, those whose keys were looked at
	Checked    int64 `json:"checked"`    // keys looked at
	Absent     int64 `json:"absent"`     // had no value: consistent
	Clean      int64 `json:"clean"`      // had a value that cannot be older than the event
	Suspect    int64 `json:"suspect"`    // had a value that may be older, or may not
	NoTTL      int64 `json:"no_ttl"`     // of the suspects, those that never expire though their rule has a ttl
	Violations int64 `json:"violations"` // had a value that is older than the event
}

// Add adds what another one counted.
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

// Bound is the upper bound, at 95 %, of the share of violations among the keys that could be judged, which the suspects
// are not; 1 if there was none.
func (t Tally) Bound() float64 { return Bound(t.Violations, t.Checked-t.Suspect) }

// count counts one key by what it was found to be.
func (t *Tally) count(f finding) {
	t.Checked++
	switch f {
	case absent:
		t.Absent++
	case clean:
		t.Clean++
	case missed, old:
		t.Violations++
	default:
		t.Suspect++
		if f == noTTL {
			t.NoTTL++
		}
	}
}

// An auditor is what an audit lane does with its messages: it looks and never deletes. It belongs to the goroutine of
// the lane.
type auditor struct {
	lane    *lane
	audited *rules.Resolver // of the rules that let a value be judged
	sample  sample
	history *history
	record  *record

	checks  []check
	found   []rules.Deletion // scratch
	refused bool             // said that Redis does not let us look
}

// A check is one key of one event.
type check struct {
	rules.Deletion
	event *event.Event
	seq   uint64
	span  around
	gone  bool // the event says that its row is deleted
	seen  sight
}

// run is that of its lane, but that nothing which goes wrong here stops the lanes that delete.
func (a *auditor) run(ctx, graceful context.Context) error {
	err := a.lane.run(ctx, graceful)
	if err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		a.lane.log.Warn("audit cannot go on, keys are deleted all the same", "err", err)
		err = nil
	}
	return err
}

// work looks at the keys of the sampled messages, judges what it sees, and acknowledges all of them, poison too: that is
// the business of the lanes that delete. It fails only when ctx ends before.
func (a *auditor) work(ctx context.Context, msgs []jetstream.Msg) error {
	defer a.lane.keepAlive(func() { touch(msgs) })()
	clear(a.checks)
	a.checks = a.checks[:0]
	var t Tally
	now := time.Now()
	for _, msg := range msgs {
		if marker(msg) || !a.audited.Asks(msg.Subject()) {
			continue
		}
		t.Events++
		if a.sample.takes(msg) {
			t.Sampled++
			a.take(msg, now)
		}
	}
	for rest := a.checks; len(rest) > 0; {
		part := rest[:min(len(rest), auditChunk)]
		rest = rest[len(part):]
		if err := a.lane.insist(ctx, func() error { return lookAt(ctx, a.lane.rdb, part) }); err != nil {
			return err
		}
	}
	for i := range a.checks {
		c := &a.checks[i]
		f, told := c.judge()
		t.count(f)
		if f == missed || f == old {
			told.History = a.history.of(c.Key)
			a.record.violated(told, a.lane)
		}
		a.complain(c)
	}
	a.record.add(t)
	for _, msg := range msgs {
		_ = msg.Ack() // if that does not arrive, its keys are looked at once more
	}
	return nil
}

// take finds the keys of a message that can be judged.
func (a *auditor) take(msg jetstream.Msg, now time.Time) {
	ev, _ := read(msg) // poison may have keys that can be made, and these were deleted
	a.found, _ = a.lane.resolver.Resolve(&ev, a.found[:0])
	span := a.lane.around(&ev, msg, now)
	for i := range a.found {
		if d := &a.found[i]; !d.Tag && (d.TTL != rules.Span{} || d.Due != "") {
			a.checks = append(a.checks, check{
				Deletion: *d, event: &ev, seq: sequence(msg.Reply()), span: span,
				gone: ev.Headers[event.HeaderOp] == "delete",
			})
		}
	}
}

// complain says once that Redis does not let us look.
func (a *auditor) complain(c *check) {
	if a.refused || !redis.HasErrorPrefix(c.seen.ttlErr, "NOPERM") && !redis.HasErrorPrefix(c.seen.valueErr, "NOPERM") {
		return
	}
	a.refused = true
	a.lane.log.Warn("audit may not look at keys, which makes them suspects: allow the user +pttl +get +hget", "key", c.Key, "err", errors.Join(c.seen.ttlErr, c.seen.valueErr))
}

// violationPause is the least time between two violations in the log.
const violationPause = time.Second

// lastViolations is how many violations of a consumer are kept with all that is known of them.
const lastViolations = 10

// A record is what one audit consumer found. It outlives its lane when there are other rules. Safe for concurrent use.
type record struct {
	mu     sync.Mutex
	now    Findings
	found  time.Time // the last violation
	told   time.Time // when a violation was last logged …
	untold int64     // … and how many were not, since
}

func (r *record) add(t Tally) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now.Tally.Add(t)
}

// violated keeps a violation, and logs it if none was lately.
func (r *record) violated(v Violation, l *lane) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v.Consumer, v.Scale, v.Instance = r.now.Consumer, r.now.Scale, r.now.Instance
	if len(r.now.Last) == lastViolations {
		r.now.Last = append(r.now.Last[:0:0], r.now.Last[1:]...) // readers may have the old one
	}
	r.now.Last = append(r.now.Last, v)
	r.found = v.Time
	if v.Time.Sub(r.told) < violationPause {
		r.untold++
		return
	}
	l.log.Warn("a stale value has survived", append(v.attributes(), "n", r.untold+1)...)
	r.told, r.untold = v.Time, 0
}

func (r *record) audit() Audit {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Audit{
		Consumer: r.now.Consumer, Scale: r.now.Scale, Tally: r.now.Tally, Bound95: r.now.Bound(), LastViolation: r.found,
	}
}

// findings returns what there is to be written.
func (r *record) findings() Findings {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.now
	f.Last = f.Last[:len(f.Last):len(f.Last)]
	return f
}
