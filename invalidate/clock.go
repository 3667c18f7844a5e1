package invalidate

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	clockEvery  = 30 * time.Second       // how often the server's clock is asked for
	clockMargin = 250 * time.Millisecond // for a server whose clock is set back between two looks, or a new leader's
)

// A clock relates the time of the server, which stamps the messages, to ours, without trusting that both say the same.
// Its reading is an answer of the server that we had at some moment: so the server's clock showed at least that then.
// Only durations are measured by our clock, and by its monotonic one. Safe for concurrent use.
type clock struct {
	js     jetstream.JetStream
	stream string

	mu     sync.Mutex
	server time.Time // what the server said …
	heard  time.Time // … when we heard it; zero: never
}

// read asks the server what time it is. It is the leader of the stream that answers, who stamps the messages.
func (c *clock) read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	s, err := c.js.Stream(ctx, c.stream)
	if err != nil {
		return fmt.Errorf("read the server's clock: %w", err)
	}
	heard := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.server, c.heard = s.CachedInfo().TimeStamp, heard
	return nil
}

// run reads the clock until ctx ends. A look that fails leaves the last one, and the next is tried soon.
func (c *clock) run(ctx context.Context) {
	for ctx.Err() == nil {
		pause := clockEvery
		if c.read(ctx) != nil {
			pause = time.Second
		}
		_ = wait(ctx, pause)
	}
}

// latest returns the latest moment of our clock at which a message can have come into the stream that the server
// stamped so and that we have had in hand since a moment.
func (c *clock) latest(stamp, since time.Time) time.Time {
	c.mu.Lock()
	server, heard := c.server, c.heard
	c.mu.Unlock()
	if stamp.IsZero() || server.IsZero() || since.Sub(heard) > 4*clockEvery {
		return since
	}
	if at := heard.Add(stamp.Sub(server) + clockMargin); at.Before(since) {
		return at
	}
	return since
}
