package demo

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-6eff6314/outbox-relay/invalidate"
	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
)

// echoDelay is how long after a change its key is deleted once more: longer than the slowest reader takes.
const echoDelay = 3 * time.Second

// evictions counts what the invalidator has done. Its goroutines observe, anyone reads.
type evictions struct {
	faults *faults
	stats  atomic.Pointer[invalidate.Invalidator] // nil before the stream is there
	events atomic.Int64                           // whose keys are gone, each counted once
	echoed atomic.Int64                           // whose keys were deleted once more, each counted once
	delay  delay                                  // from the insert of the event to the reply of Redis, for the panel

	now, echo marks
}

// marks are when something was done for the events, by position, which have no gaps.
type marks struct {
	mu sync.Mutex
	at []int64 // in nanoseconds; 0: not yet
}

// newInvalidator deletes the cached balance of every account that changes.
func newInvalidator(s *stage, observe func(invalidate.Done)) (*invalidate.Invalidator, error) {
	text := fmt.Sprintf("rules: [{subject: %q, keys: [%q]}]", s.subject+".*.updated", s.key("$1"))
	set, err := rules.Parse("demo", []byte(text))
	if err != nil {
		return nil, err
	}
	return invalidate.New(s.js, s.rdb, invalidate.Config{
		Stream: s.stream, Rules: set, Echo: []time.Duration{echoDelay}, Grace: 3 * time.Second, Observe: observe,
		AckWait: 5 * time.Second, // acks that were on their way when the broker stopped must come again before the end
	})
}

func (e *evictions) observe(done invalidate.Done) {
	for i := range done.Events {
		event := &done.Events[i]
		switch {
		case done.Delay > 0:
			if e.echo.note(event.Position, done.Unlinked) {
				e.echoed.Add(1)
			}
		case e.now.note(event.Position, done.Unlinked): // not delivered again
			e.events.Add(1)
			e.delay.observe(done.Unlinked.Sub(event.CreatedAt), e.faults.disturbed(event.CreatedAt, done.Unlinked))
		}
	}
}

// done is when the keys of the event at a position were gone; false if they are not.
func (e *evictions) done(position int64) (time.Time, bool) { return e.now.done(position) }

// note keeps when the event at a position was done, and says whether it was the first time.
func (m *marks) note(position int64, at time.Time) (first bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if position <= 0 {
		return false // not of a relay
	}
	if missing := int(position) + 1 - len(m.at); missing > 0 {
		m.at = append(m.at, make([]int64, missing)...)
	}
	if m.at[position] != 0 {
		return false
	}
	m.at[position] = at.UnixNano()
	return true
}

func (m *marks) done(position int64) (time.Time, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if position <= 0 || position >= int64(len(m.at)) || m.at[position] == 0 {
		return time.Time{}, false
	}
	return time.Unix(0, m.at[position]), true
}

// deleted is how many keys were in Redis when they were to be deleted at once, and how many were there again when they
// were to be deleted once more: at most so many of those were filled too late.
func (e *evictions) deleted() (now, echo int64) {
	v := e.stats.Load()
	if v == nil {
		return 0, 0
	}
	s := v.Stats()
	for _, lane := range s.Echoes {
		echo += lane.Deleted
	}
	return s.Deleted, echo
}
