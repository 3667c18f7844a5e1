package invalidate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
	"golang.org/x/time/rate"

	"github.com/seed-6eff6314/outbox-relay/internal/consume"
	"github.com/seed-6eff6314/outbox-relay/internal/wait"
	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
)

// A consumer is one durable consumer of the stream together with what the invalidator does with its messages: delete
// keys at once, delete them again after a delay, or check them for staleness. Consumers are independent of each other;
// the server stores the position of each. A consumer belongs to the goroutine in run or step.
type consumer struct {
	js       jetstream.JetStream
	rdb      redis.UniversalClient
	cfg      *Config
	log      *slog.Logger
	clock    *clock
	counters *counters

	durable string
	delay   time.Duration // from the moment at which the stream stored a message until it is due
	slowest time.Duration // a reader needs at most so long from its database snapshot to its cache write
	gate    EchoGate      // if set, the delay counts from the moment at which the gate passes the message

	// startAt returns where the server must begin to deliver if it has to create the consumer.
	startAt func(context.Context) (startPosition, error)
	// metadata, if set, returns the metadata that the consumer must have. info is nil if the consumer does not exist.
	metadata func(ctx context.Context, info *jetstream.ConsumerInfo) (map[string]string, error)
	// process does the work for messages and acknowledges them. It fails only if ctx ends first.
	process func(context.Context, []jetstream.Msg) error

	resolver *rules.Resolver
	batch    batch
	notDue   []received   // in hand when the last puller closed, to be taken by the next one
	dead     *deadLetters // nil: another consumer dead-letters poison events
	tags     *tagQueue
	history  *historyRecorder // nil without staleness checks
	pacer    *rate.Limiter    // of the members of tags
	declared bool             // the server has accepted the configuration at least once
}

// run processes messages until ctx ends. The messages in hand may be finished until graceful ends, which is later.
func (c *consumer) run(ctx, graceful context.Context) error {
	defer c.tags.run(graceful)()
	retry := consume.NewBackoff(longestPause)
	for ctx.Err() == nil {
		cons, err := c.ensure(ctx)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return err
		}
		worked, err := c.consume(ctx, graceful, cons)
		if ctx.Err() != nil {
			break
		}
		if worked {
			retry.Reset()
		}
		c.log.Warn("consumer lost, opening it again", "err", err)
		_ = wait.For(ctx, retry.NextBackOff()) // the loop checks ctx
	}
	return nil
}

// consume processes the messages that the server delivers until ctx ends or the server stops delivering, which is the
// error. It reports whether it processed any message.
func (c *consumer) consume(ctx, graceful context.Context, cons jetstream.Consumer) (worked bool, err error) {
	window := min(16*c.cfg.Batch, c.cfg.MaxAckPending/2)
	p := startPuller(cons, c.notDue, c.cfg.Batch, window, c.js.Conn().MaxPayload())
	defer p.close()
	defer c.keepAlive(func() { p.extend(); c.tags.extend() })()
	stop := ctx.Done()
	due := time.NewTimer(0)
	defer due.Stop()
	var msgs []jetstream.Msg
	var early time.Duration
	for last := false; graceful.Err() == nil; {
		select {
		case <-stop: // request no more, but finish what the server still sends: otherwise it waits for AckWait
			stop = nil
			p.stop()
		case <-graceful.Done():
		case <-p.done:
			last = true
		case <-p.wake:
		case <-due.C:
		}
		if msgs, early = p.take(msgs, c.untilDue); len(msgs) > 0 {
			worked = true
			_ = c.process(graceful, msgs) // fails only when graceful has ended, and therefore ctx too
		} else if last {
			err = p.err
			break
		}
		if early > 0 {
			due.Reset(early)
		}
	}
	// Keep the messages that are not due: the server would redeliver them only after AckWait.
	c.notDue = p.remaining()
	if ctx.Err() != nil {
		for _, m := range c.notDue {
			_ = m.Nak() // another invalidator receives it at once, or after AckWait if the Nak is lost
		}
		c.notDue = nil
		c.tags.drain(graceful)
		c.flushAcks(graceful)
	}
	return worked, err
}

// step processes the messages that are waiting on the server, at most one batch.
func (c *consumer) step(ctx context.Context) (int, error) {
	stop := c.tags.run(ctx)
	defer stop()
	cons, err := c.ensure(ctx)
	if err != nil {
		return 0, err
	}
	fetched, err := cons.FetchNoWait(c.cfg.Batch)
	if err != nil {
		return 0, fmt.Errorf("fetch batch: %w", err)
	}
	var msgs []jetstream.Msg
	for m := range fetched.Messages() {
		msgs = append(msgs, m)
	}
	if err := fetched.Error(); err != nil && len(msgs) == 0 {
		return 0, fmt.Errorf("fetch batch: %w", err)
	}
	if err := c.process(ctx, msgs); err != nil {
		return 0, err
	}
	c.tags.drain(ctx)
	return len(msgs), nil
}

// flushAcks waits until all acks have been sent, if the connection is up.
func (c *consumer) flushAcks(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if conn := c.js.Conn(); conn.IsConnected() {
		if err := conn.FlushWithContext(ctx); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			c.log.Warn("cannot confirm that the last acks arrived; events without an ack will be redelivered", "err", err)
		}
	}
}
