package invalidate

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/wait"
)

const (
	clockInterval = 30 * time.Second       // between two readings of the server's clock
	clockMargin   = 250 * time.Millisecond // for a server clock that is set back between two readings, or a new leader's clock
)

// A clock converts the time of the NATS server, which stamps the messages, to the time of this process without assuming
// that the two agree. A reading is a server time and the local time at which its reply arrived, so the server's clock
// showed at least that time then. Only durations are measured locally, with the monotonic clock. Safe for concurrent
// use.
type clock struct {
	js     jetstream.JetStream
	stream string

	mu     sync.Mutex
	server time.Time // the server time of the last reading
	heard  time.Time // when its reply arrived; zero before the first reading
}

// read reads the time of the server. The leader of the stream answers, which is the server that stamps the messages.
func (c *clock) read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	s, err := c.js.Stream(ctx, c.stream)
	if err != nil {
		return fmt.Errorf("read server clock: %w", err)
	}
	heard := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.server, c.heard = s.CachedInfo().TimeStamp, heard
	return nil
}

// run reads the clock regularly until ctx ends. A failed reading leaves the previous one in use and is repeated after
// one second.
func (c *clock) run(ctx context.Context) {
	for ctx.Err() == nil {
		pause := clockInterval
		if c.read(ctx) != nil {
			pause = time.Second
		}
		_ = wait.For(ctx, pause)
	}
}

// latest returns the latest local time at which the stream can have stored a message, given the stamp of the server and
// the local time since which the message has been in hand.
func (c *clock) latest(stamp, since time.Time) time.Time {
	c.mu.Lock()
	server, heard := c.server, c.heard
	c.mu.Unlock()
	if stamp.IsZero() || server.IsZero() || since.Sub(heard) > 4*clockInterval {
		return since
	}
	if at := heard.Add(stamp.Sub(server) + clockMargin); at.Before(since) {
		return at
	}
	return since
}
