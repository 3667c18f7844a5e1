package invalidate

import (
	"context"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/consume"
	"github.com/seed-6eff6314/outbox-relay/internal/wait"
)

// untilRedisSucceeds repeats a Redis operation until it succeeds. Meanwhile the puller fills up and requests no more
// messages, and no message in hand is given back to the server. It fails, with the last error of the operation, only if
// ctx ends first.
func (c *consumer) untilRedisSucceeds(ctx context.Context, try func() error) error {
	err := try()
	if err == nil {
		return nil
	}
	began := time.Now()
	defer c.countWaiting(-1)
	c.countWaiting(+1)
	if ctx.Err() == nil {
		c.log.Warn("Redis commands fail, pausing until they succeed", "err", err)
	}
	retry := consume.NewBackoff(longestPause)
	for {
		c.counters.update(func(s *ConsumerStats) { s.RedisErrors++ })
		if wait.For(ctx, retry.NextBackOff()) != nil {
			return err
		}
		if err = try(); err == nil {
			c.log.Info("Redis commands succeed again, continuing", "wait", time.Since(began).Round(time.Millisecond).String())
			return nil
		}
	}
}

// countWaiting counts the goroutines that wait for Redis.
func (c *consumer) countWaiting(n int) {
	c.counters.update(func(s *ConsumerStats) {
		s.waiting += n
		s.Paused = s.waiting > 0
	})
}
