package invalidate

import (
	"context"
	"slices"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/wait"
)

// pausePoll is the time between two checks of whether an operator has paused a consumer.
const pausePoll = 2 * time.Second

// watchPauses reports, until ctx ends, which consumers an operator has paused. The server delivers nothing to a paused
// consumer and returns no error.
func (v *Invalidator) watchPauses(ctx context.Context) {
	watched := slices.Clone(v.consumers)
	for _, s := range v.checks {
		watched = append(watched, s.consumer)
	}
	for ctx.Err() == nil {
		for _, c := range watched {
			c.checkPaused(ctx)
		}
		_ = wait.For(ctx, pausePoll)
	}
}

// checkPaused records until when the consumer is paused. It keeps the last state if the server does not answer.
func (c *consumer) checkPaused(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	cons, err := c.js.Consumer(ctx, c.cfg.Stream, c.durable)
	if err != nil {
		return // ensure logs every outage
	}
	var until time.Time
	if info := cons.CachedInfo(); info.Paused && info.Config.PauseUntil != nil {
		until = *info.Config.PauseUntil
	}
	was := c.counters.snapshot().PausedUntil
	c.counters.update(func(s *ConsumerStats) { s.PausedUntil = until })
	switch {
	case !until.IsZero() && !until.Equal(was):
		c.log.Warn("consumer paused by an operator; run outbox resume --consumer "+c.durable+" to continue", "until", until)
	case until.IsZero() && !was.IsZero():
		c.log.Info("consumer no longer paused, continuing")
	}
}
