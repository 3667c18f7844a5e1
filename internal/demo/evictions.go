package demo

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-6eff6314/outbox-relay/invalidate"
	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
)

// evictions counts what the invalidator has done. One goroutine of the invalidator's observes, anyone reads.
type evictions struct {
	faults *faults
	stats  atomic.Pointer[invalidate.Invalidator] // nil before the stream is there
	events atomic.Int64                           // whose keys are gone, each counted once
	delay  delay                                  // from the insert of the event to the reply of Redis, for the panel

	mu sync.Mutex
	at []int64 // when the keys of the event at a position were gone, in nanoseconds; 0: not yet
}

// newInvalidator deletes the cached balance of every account that changes.
func newInvalidator(s *stage, observe func(invalidate.Done)) (*invalidate.Invalidator, error) {
	text := fmt.Sprintf("rules: [{subject: %q, keys: [%q]}]", s.subject+".*.updated", s.key("$1"))
	set, err := rules.Parse("demo", []byte(text))
	if err != nil {
		return nil, err
	}
	return invalidate.New(s.js, s.rdb, invalidate.Config{
		Stream: s.stream, Rules: set, Grace: 3 * time.Second, Observe: observe,
		AckWait: 5 * time.Second, // acks that were on their way when the broker stopped must come again before the end
	})
}

func (e *evictions) observe(done invalidate.Done) {
	if done.Delay > 0 {
		return // the echo, of events that were counted
	}
	for i := range done.Events {
		event := &done.Events[i]
		if !e.note(event.Position, done.Unlinked) {
			continue // delivered again
		}
		e.events.Add(1)
		e.delay.observe(done.Unlinked.Sub(event.CreatedAt), e.faults.disturbed(event.CreatedAt, done.Unlinked))
	}
}

// note keeps when the event at a position was done, and says whether it was the first time. Positions have no gaps,
// so that a slice holds them.
func (e *evictions) note(position int64, at time.Time) (first bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if position <= 0 {
		return false // not of a relay
	}
	if missing := int(position) + 1 - len(e.at); missing > 0 {
		e.at = append(e.at, make([]int64, missing)...)
	}
	if e.at[position] != 0 {
		return false
	}
	e.at[position] = at.UnixNano()
	return true
}

// done is when the keys of the event at a position were gone; false if they are not.
func (e *evictions) done(position int64) (time.Time, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if position <= 0 || position >= int64(len(e.at)) || e.at[position] == 0 {
		return time.Time{}, false
	}
	return time.Unix(0, e.at[position]), true
}

// deleted is how many keys were in Redis when they were to be deleted.
func (e *evictions) deleted() int64 {
	if v := e.stats.Load(); v != nil {
		return v.Stats().Deleted
	}
	return 0
}
