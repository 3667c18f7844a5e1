package invalidate

import (
	"sync"
	"time"
)

// Stats counts what an invalidator did since New. The embedded ConsumerStats are those of the consumer that deletes at
// once.
type Stats struct {
	ConsumerStats
	Echoes    []ConsumerStats  // in the order of their delays
	Staleness []StalenessStats // in the order of their scales
	FailOvers int64            // times that Redis changed its identity
	// FailOverRedelivered is the number of events that were processed again after a fail-over.
	FailOverRedelivered int64
}

// ConsumerStats counts what one consumer did since New.
type ConsumerStats struct {
	Consumer     string        // name of the durable consumer
	Delay        time.Duration // from the moment at which the stream stored an event until the consumer deletes its keys
	Events       int64         // processed events without poison; those with tags may still wait for their acknowledgement
	Unmatched    int64         // of these, events that no rule matched
	Skipped      int64         // keys and tags not deleted, because every value that the event made stale had expired
	Keys         int64         // keys whose deletion Redis confirmed
	Deleted      int64         // keys and fill tokens that existed
	Kept         int64         // keys that an echo did not delete, because the value was new enough
	Tags         int64         // tags whose members were deleted
	Members      int64         // members of these tags
	TagErrors    int64         // tags that are neither a SET nor a ZSET
	TagsWaiting  int           // tags whose scan has not finished
	Dead         int64         // poison events that the dead-letter stream has stored
	DeadErrors   int64         // failed attempts to dead-letter an event, which the server redelivers
	Redelivered  int64         // messages that the server had delivered before
	RedisErrors  int64         // Redis operations that failed and were repeated
	AckErrors    int64         // acks that could not be sent, so that the server redelivers the event
	Paused       bool          // true while Redis commands fail and no messages are requested
	PausedUntil  time.Time     // until when an operator has paused the consumer; zero if it is not paused
	Lag          time.Duration // age of the oldest event of the last batch when its keys were gone
	LastProgress time.Time     // when the last batch was acknowledged

	waiting int // goroutines that wait for Redis
}

// counters are the ConsumerStats of one consumer. Safe for concurrent use.
type counters struct {
	mu  sync.Mutex
	now ConsumerStats
}

func (c *counters) update(change func(*ConsumerStats)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.now)
}

func (c *counters) snapshot() ConsumerStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}
