package invalidate

import (
	"sync"
	"time"
)

// Stats is what an invalidator did since New, as of one moment.
type Stats struct {
	Events       int64         // acknowledged after everything they asked for was done, poison not among them
	Unmatched    int64         // of these, those that no rule matched
	Keys         int64         // keys that Redis was asked to delete, and said yes
	Deleted      int64         // of these, those that existed
	Dead         int64         // poison events that the dead-letter stream has taken
	DeadErrors   int64         // attempts to dead-letter that came to nothing; the event will be delivered again
	Redelivered  int64         // messages that had been delivered before
	RedisErrors  int64         // pipelines that Redis did not answer with yes throughout
	AckErrors    int64         // acks that could not be sent; the event will be delivered again
	Paused       bool          // Redis does not answer and nothing is fetched
	Lag          time.Duration // age of the oldest event of the last batch when its keys were gone
	LastProgress time.Time     // when the last batch was acknowledged
}

// stats is the Stats being counted, by the goroutine that works.
type stats struct {
	mu  sync.Mutex
	now Stats
}

func (s *stats) update(change func(*Stats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.now)
}

func (s *stats) snapshot() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}
