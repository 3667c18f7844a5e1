package fill

import (
	"errors"
	"fmt"
	"time"
)

// Config says how a Cache works. The zero value of a field means its default.
type Config[V any] struct {
	// Codec turns values into the text that is cached and back. Defaults to JSON.
	Codec Codec[V]
	// Lease is how long a token holds: a load that takes longer is not cached, and how long others wait at most for a
	// process that died. From 1 ms. Defaults to 10 s.
	Lease time.Duration
	// WaitMax is how long a caller waits for the load of another process before it loads for itself. Defaults to 2 s.
	WaitMax time.Duration
	// Jitter shortens the ttl of each fill by a random part of up to this much, so that values filled together do not
	// expire together: the ttl is spread evenly over [(1-Jitter)·ttl, ttl], which rule files call its span. Below 1;
	// negative for none. Defaults to 0.1.
	Jitter float64
	// RedisTimeout bounds each step in Redis: Get takes one to look, no other if that fails, and else one each for token,
	// index and fill, besides waiting. A client keeps to it while it waits for a reply only if its ContextTimeoutEnabled is set;
	// otherwise a silent server takes its ReadTimeout (3 s unless set) if that is more. From 1 ms. Defaults to 500 ms.
	RedisTimeout time.Duration
	// OnError, if set, hears of each error that no caller is told, because the value came anyway: those of Redis and of the
	// codec. Also of a panic of load. It is called by several goroutines at once and must not block.
	OnError func(error)
}

func (c *Config[V]) setDefaults() {
	if c.Codec == nil {
		c.Codec = JSON[V]{}
	}
	def(&c.Lease, 10*time.Second)
	def(&c.WaitMax, 2*time.Second)
	def(&c.Jitter, 0.1)
	def(&c.RedisTimeout, 500*time.Millisecond)
	c.Jitter = max(c.Jitter, 0)
	if c.OnError == nil {
		c.OnError = func(error) {}
	}
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (c *Config[V]) check() error {
	switch {
	case c.Lease < time.Millisecond:
		return fmt.Errorf("the Lease is %s, it has to be at least 1ms", c.Lease)
	case c.WaitMax < 0:
		return fmt.Errorf("the WaitMax is %s, it cannot be negative", c.WaitMax)
	case !(c.Jitter < 1):
		return fmt.Errorf("the Jitter is %v, it has to be below 1", c.Jitter)
	case c.RedisTimeout < time.Millisecond:
		return fmt.Errorf("the RedisTimeout is %s, it has to be at least 1ms", c.RedisTimeout)
	}
	return nil
}

var errClient = errors.New("a Redis client is required")
