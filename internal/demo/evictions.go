package demo

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-6eff6314/outbox-relay/invalidate"
	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
)

// echoDelay is the time after an event at which its key is deleted again. It is longer than the slowest reader takes.
const echoDelay = 3 * time.Second

// evictions counts what the invalidator has done. It is safe for concurrent use.
type evictions struct {
	faults      *faults
	invalidator atomic.Pointer[invalidate.Invalidator] // nil until the stream exists
	events      atomic.Int64                           // events whose keys were deleted, each counted once
	echoed      atomic.Int64                           // events whose keys were deleted again by the echo, each counted once
	delay       delay                                  // from the insert of an event to the reply of Redis, for the panel

	now, echo timestamps
}

// timestamps are when something was done for each event, by position. Positions have no gaps.
type timestamps struct {
	mu sync.Mutex
	at []int64 // in nanoseconds; 0: not yet
}

// newInvalidator returns an invalidator that deletes the cached balance of every account that changes.
func newInvalidator(env *environment, observe func(invalidate.Done)) (*invalidate.Invalidator, error) {
	text := fmt.Sprintf("rules: [{subject: %q, keys: [%q]}]", env.subject+".*.updated", env.key("$1"))
	set, err := rules.Parse("demo", []byte(text))
	if err != nil {
		return nil, err
	}
	return invalidate.New(env.js, env.rdb, invalidate.Config{
		Stream: env.stream, Rules: set, Echo: []time.Duration{echoDelay}, Grace: 3 * time.Second, Observe: observe,
		AckWait: 5 * time.Second, // acks lost when the broker stops must be repeated before the demo ends
	})
}

func (e *evictions) observe(done invalidate.Done) {
	for i := range done.Events {
		event := &done.Events[i]
		switch {
		case done.Delay > 0:
			if e.echo.add(event.Position, done.Unlinked) {
				e.echoed.Add(1)
			}
		case e.now.add(event.Position, done.Unlinked): // not a redelivery
			e.events.Add(1)
			e.delay.observe(done.Unlinked.Sub(event.CreatedAt), e.faults.disturbed(event.CreatedAt, done.Unlinked))
		}
	}
}

// add records when the event at a position was done, unless it is recorded already. It reports whether it recorded it.
func (t *timestamps) add(position int64, at time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if position <= 0 {
		return false // not published by a relay
	}
	if missing := int(position) + 1 - len(t.at); missing > 0 {
		t.at = append(t.at, make([]int64, missing)...)
	}
	if t.at[position] != 0 {
		return false
	}
	t.at[position] = at.UnixNano()
	return true
}

// get returns when the event at a position was done, and whether it was.
func (t *timestamps) get(position int64) (time.Time, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if position <= 0 || position >= int64(len(t.at)) || t.at[position] == 0 {
		return time.Time{}, false
	}
	return time.Unix(0, t.at[position]), true
}

// deleted returns how many keys existed when they were deleted at once, and how many existed again when the echo deleted
// them. The latter is an upper bound of the number of stale fills that the echo corrected.
func (e *evictions) deleted() (now, echo int64) {
	v := e.invalidator.Load()
	if v == nil {
		return 0, 0
	}
	s := v.Stats()
	for _, consumer := range s.Echoes {
		echo += consumer.Deleted
	}
	return s.Deleted, echo
}
