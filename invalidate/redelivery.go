package invalidate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/wait"
)

// A redelivery processes the events of the recent past again, by a durable consumer of its own. That consumer exists
// from the start of the redelivery until its end, so that the next invalidator continues it if this one dies. Its
// progress is stored only in that consumer.

// redeliveryPoll is the time between two checks of whether a redelivery is complete.
const redeliveryPoll = time.Second / 5

// errRedelivered ends a redelivery that is complete.
var errRedelivered = errors.New("redelivery complete")

// startPositions returns where redeliveries must start: at the checkpoint a window before Redis was last seen with its
// known identity. If the checkpoints do not cover a whole window, everything that the stream stored in that time must
// be processed again as well.
//
// The checkpoint matters while a consumer processes a backlog: it then deletes the keys of events that are much older
// than the window.
func (f *failover) startPositions() (list []startPosition) {
	seen := time.Now()
	if n := len(f.checkpoints); n > 0 {
		first := f.checkpoints[0]
		seen = f.checkpoints[n-1].at
		list = append(list, startPosition{seq: first.floor + 1})
		if !first.at.After(seen.Add(-f.window)) {
			return list
		}
	}
	return append(list, startPosition{at: seen.Add(-f.window - f.v.consumers[0].slowest)})
}

func (f *failover) durable() string { return f.v.cfg.durable("redelivery") }

func (f *failover) newConsumer() *consumer {
	return f.v.newConsumer(f.durable(), 0, f.v.cfg.Rules, &counters{now: ConsumerStats{Consumer: f.durable()}})
}

// findUnfinished reports whether the consumer of a redelivery exists, which an earlier process left. It checks only
// once after each call of metadata.
func (f *failover) findUnfinished(ctx context.Context) (bool, error) {
	if f.setResumed(true) {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err := f.v.js.Consumer(ctx, f.v.cfg.Stream, f.durable())
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		f.setResumed(false)
		return false, fmt.Errorf("read consumer of redelivery: %w", err)
	}
	return err == nil, nil
}

// startRedelivery creates the consumer of a redelivery. If it exists already, it keeps its earlier start position, and
// the events that it has left are processed first.
func (f *failover) startRedelivery(ctx context.Context, start startPosition) error {
	c := f.newConsumer()
	c.startAt = func(context.Context) (startPosition, error) { return start, nil }
	if _, err := c.declare(ctx); err != nil {
		return fmt.Errorf("start redelivery: %w", err)
	}
	return nil
}

// redeliver processes the events of the redelivery up to the present end of the stream, and then deletes its consumer.
// It also ends when another invalidator has deleted the consumer.
func (f *failover) redeliver(ctx, graceful context.Context) error {
	stream, err := f.v.js.Stream(ctx, f.v.cfg.Stream)
	if err != nil {
		return fmt.Errorf("redeliver: %w", err)
	}
	until := stream.CachedInfo().State.LastSeq
	c := f.newConsumer()
	c.declared = true // so that it is not created again when another invalidator deletes it
	c.startAt = func(context.Context) (startPosition, error) { return startPosition{}, errRedelivered }
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan error, 1)
	go func() { ended <- c.run(work, graceful) }()
	for work.Err() == nil {
		done, err := c.reached(work, until)
		if done || errors.Is(err, jetstream.ErrConsumerNotFound) {
			cancel(errRedelivered)
		}
		_ = wait.For(work, redeliveryPoll)
	}
	if err := <-ended; err != nil && !errors.Is(err, errRedelivered) {
		return fmt.Errorf("redeliver: %w", err)
	}
	events := c.counters.snapshot().Events
	f.mu.Lock()
	f.redelivered += events
	f.mu.Unlock()
	if !errors.Is(context.Cause(work), errRedelivered) {
		return context.Cause(work) // ctx has ended: another invalidator, or the next run, continues
	}
	err = f.v.js.DeleteConsumer(ctx, f.v.cfg.Stream, f.durable())
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("end redelivery: %w", err)
	}
	f.v.log.Info("repeated recent deletions", "n", events)
	return nil
}

// reached reports whether the consumer has processed everything up to a sequence.
func (c *consumer) reached(ctx context.Context, until uint64) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	cons, err := c.js.Consumer(ctx, c.cfg.Stream, c.durable)
	if err != nil {
		return false, err
	}
	info := cons.CachedInfo()
	return info.AckFloor.Stream >= until || info.NumPending == 0 && info.NumAckPending == 0, nil
}
