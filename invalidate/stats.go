package invalidate

import (
	"sync"
	"time"
)

// Stats is what an invalidator did since New, as of one moment: that of the consumer which deletes at once, and the
// others.
type Stats struct {
	Lane
	Echoes    []Lane  // by delay
	Audits    []Audit // by scale
	FailOvers int64   // times that Redis turned out to be another server, or had its data from elsewhere
	Replayed  int64   // events worked off again because of that
}

// Lane is what one consumer did.
type Lane struct {
	Consumer     string        // its name
	Delay        time.Duration // for which events wait before it deletes
	Events       int64         // worked off, poison not among them; those with tags wait for their acknowledgement still
	Unmatched    int64         // of these, those that no rule matched
	Skipped      int64         // keys and tags not deleted, since every value that the event made stale had expired
	Keys         int64         // keys that Redis was asked to delete, and said yes
	Deleted      int64         // of these, those that existed, fill tokens beside them included
	Kept         int64         // keys that an echo left alone, since the value was new enough
	Tags         int64         // tags whose members were deleted
	Members      int64         // of these, the members
	TagErrors    int64         // tags that are neither a SET nor a ZSET
	TagsWaiting  int           // tags not finished yet
	Dead         int64         // poison events that the dead-letter stream has taken
	DeadErrors   int64         // attempts to dead-letter that came to nothing; the event will be delivered again
	Redelivered  int64         // messages that had been delivered before
	RedisErrors  int64         // pipelines that Redis did not answer with yes throughout
	AckErrors    int64         // acks that could not be sent; the event will be delivered again
	Paused       bool          // Redis does not answer and nothing is fetched
	PausedUntil  time.Time     // a person paused the consumer until then, as the server last said; zero: nobody did
	Lag          time.Duration // age of the oldest event of the last batch when its keys were gone
	LastProgress time.Time     // when the last batch was acknowledged

	waiting int // goroutines that wait for Redis
}

// stats is the Lane being counted, by the goroutines that work.
type stats struct {
	mu  sync.Mutex
	now Lane
}

func (s *stats) update(change func(*Lane)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.now)
}

func (s *stats) snapshot() Lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}
