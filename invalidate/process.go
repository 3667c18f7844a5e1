package invalidate

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/crash"
)

// invalidate processes messages in an order that loses no deletion: resolve the keys, unlink them, and
// acknowledge the messages only after Redis has confirmed every key. A message with tags is acknowledged later, after
// the members of its tags are gone. Poison messages go to the dead-letter stream at the end. invalidate fails only if
// ctx ends first; then no message whose keys may still exist has been acknowledged.
func (c *consumer) invalidate(ctx context.Context, msgs []jetstream.Msg) error {
	began := time.Now()
	b := &c.batch
	b.reset()
	c.history.reset()
	for _, msg := range msgs {
		b.add(c.resolver, msg, c.expired)
		c.history.take(msg, b.resolved, c.expired)
	}
	stop := c.keepAlive(func() { inProgress(msgs) })
	defer stop()
	deleted, err := c.unlinkBatch(ctx, b)
	if err != nil {
		return err
	}
	unlinked := time.Now()
	c.history.write(c.durable, b, deleted)
	crash.Point("unlinked")
	failed := 0
	for _, msg := range b.complete {
		if msg.Ack() != nil {
			failed++ // the server redelivers the event, which is harmless
		}
	}
	if err := c.tags.enqueue(ctx, b.tagged); err != nil {
		return err
	}
	dead, deadErrors := c.deadLetter(ctx, b.poison)
	c.counters.update(func(s *ConsumerStats) {
		s.Events += int64(len(b.events) + b.irrelevant)
		s.Unmatched += int64(b.unmatched + b.irrelevant)
		s.Skipped += int64(b.skipped)
		s.Keys += int64(b.requested)
		s.Deleted += int64(deleted)
		s.Dead += int64(dead)
		s.DeadErrors += int64(deadErrors)
		s.Redelivered += int64(b.redelivered)
		s.AckErrors += int64(failed)
		s.LastProgress = time.Now()
		if !b.oldest.IsZero() {
			s.Lag = unlinked.Sub(b.oldest)
		}
	})
	if c.cfg.Observe != nil {
		c.cfg.Observe(Done{
			Consumer: c.durable, Delay: c.delay, Events: b.events, Keys: b.requested, Deleted: deleted,
			Unlinked: unlinked, Took: time.Since(began),
		})
	}
	return nil
}

// unlinkBatch deletes the keys of a batch and returns how many existed. An echo first reads the values whose rule has a
// version, and keeps those that are new enough.
func (c *consumer) unlinkBatch(ctx context.Context, b *batch) (deleted int, err error) {
	if len(b.versioned) > 0 {
		err := c.untilRedisSucceeds(ctx, func() error {
			old, err := outdated(ctx, c.rdb, b.versioned)
			if err == nil {
				c.counters.update(func(s *ConsumerStats) { s.Kept += int64(len(b.versioned) - len(old)) })
				b.keys = append(b.keys, old...)
			}
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	return c.unlink(ctx, b.keys)
}

// unlink deletes keys and returns how many existed. It waits for the end of every outage of Redis.
func (c *consumer) unlink(ctx context.Context, keys []string) (deleted int, err error) {
	err = c.untilRedisSucceeds(ctx, func() error {
		done, n, err := unlink(ctx, c.rdb, keys)
		keys, deleted = keys[done:], deleted+n
		return err
	})
	return deleted, err
}

// deadLetter moves poison events to the dead-letter stream and returns how many it moved and how many it could not
// move. Only the consumer that deletes at once does so, so that each poison event becomes one dead letter; the others
// acknowledge them.
func (c *consumer) deadLetter(ctx context.Context, poison []poisoned) (moved, left int) {
	if c.dead != nil {
		return c.dead.move(ctx, poison)
	}
	for _, p := range poison {
		_ = p.msg.Ack() // redelivered if the ack is lost
	}
	return 0, 0
}
