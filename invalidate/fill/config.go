package fill

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// Config configures a Cache. A zero field means its default.
type Config[V any] struct {
	// Codec converts values to the text that is cached and back. Defaults to JSON.
	Codec Codec[V]
	// Lease is the lifetime of a token. A load that takes longer is not cached, and the callers of other processes wait
	// at most this long for a process that died. At least 1 ms. Defaults to 10 s.
	Lease time.Duration
	// WaitMax is how long a caller waits for the load of another process. After that it loads the value itself, without
	// caching it. Defaults to 2 s.
	WaitMax time.Duration
	// Jitter shortens the ttl of each fill by a random part of at most this fraction, so that values filled together do
	// not expire together: the ttl is distributed evenly over [(1-Jitter)·ttl, ttl], which are the two times of the field
	// ttl in a rule file. Must be below 1; negative means no jitter. Defaults to 0.1.
	Jitter float64
	// RedisTimeout bounds each step in Redis. A Get takes one step to read. If that fails, it takes no other; if the
	// value is missing, it takes one step each for the token, the tag indexes and the fill, apart from the time it waits
	// for another process. The client must have ContextTimeoutEnabled set to stop waiting for a reply at this timeout;
	// otherwise a server that does not answer blocks for ReadTimeout (3 s by default) if that is longer. At least 1 ms.
	// Defaults to 500 ms.
	RedisTimeout time.Duration
	// OnError, if set, receives the errors that no caller gets because the value was available anyway: those of Redis and
	// of the codec. It also receives a panic of load. Several goroutines call it concurrently, and it must not block.
	OnError func(error)
}

func (c *Config[V]) setDefaults() {
	if c.Codec == nil {
		c.Codec = JSON[V]{}
	}
	c.Lease = cmp.Or(c.Lease, 10*time.Second)
	c.WaitMax = cmp.Or(c.WaitMax, 2*time.Second)
	c.Jitter = max(cmp.Or(c.Jitter, 0.1), 0)
	c.RedisTimeout = cmp.Or(c.RedisTimeout, 500*time.Millisecond)
	if c.OnError == nil {
		c.OnError = func(error) {}
	}
}

func (c *Config[V]) check() error {
	switch {
	case c.Lease < time.Millisecond:
		return fmt.Errorf("invalid Lease %s; want at least 1ms", c.Lease)
	case c.WaitMax < 0:
		return fmt.Errorf("invalid WaitMax %s; want a positive duration, or 0 for the default", c.WaitMax)
	case !(c.Jitter < 1):
		return fmt.Errorf("invalid Jitter %v; want a number below 1", c.Jitter)
	case c.RedisTimeout < time.Millisecond:
		return fmt.Errorf("invalid RedisTimeout %s; want at least 1ms", c.RedisTimeout)
	}
	return nil
}

var errClient = errors.New("want a Redis client, got nil")
