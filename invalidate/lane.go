package invalidate

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
	"golang.org/x/time/rate"

	"github.com/seed-6eff6314/outbox-relay/internal/crash"
	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
)

// A lane is one durable consumer and what is done with its messages: now at once, an echo some time later. Lanes know
// nothing of each other; the server remembers where each stands. A lane belongs to the goroutine in run or step.
type lane struct {
	js    jetstream.JetStream
	rdb   redis.UniversalClient
	cfg   *Config
	log   *slog.Logger
	clock *clock
	stats *stats

	durable string
	delay   time.Duration // each message waits for so long after it came into the stream
	slowest time.Duration // that a reader may take from the database to the cache
	gate    Gate          // if set, messages wait for it before the delay begins
	begin   func(context.Context) (start, error)
	mark    func(context.Context, *jetstream.ConsumerInfo) (metadata map[string]string, err error) // if set, of the consumer; nil info: there is none yet
	work    func(context.Context, []jetstream.Msg) error                                           // does what has to be done and acknowledges; fails only when ctx ends

	resolver *rules.Resolver
	batch    batch
	rest     []received   // in hand when the last feed ended, and not due
	dead     *deadLetters // nil: another lane buries
	tags     *tagQueue
	noter    *noter // nil without audits
	pacer    *rate.Limiter
	known    bool // the server has accepted the consumer before
}

// run works until ctx ends. graceful ends some time later, and what is in hand may be finished until then.
func (l *lane) run(ctx, graceful context.Context) error {
	defer l.tags.run(graceful)()
	retry := newBackoff(longestPause)
	for ctx.Err() == nil {
		cons, err := l.ensure(ctx)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return err
		}
		worked, err := l.consume(ctx, graceful, cons)
		if ctx.Err() != nil {
			break
		}
		if worked {
			retry.Reset()
		}
		l.log.Warn("lost the consumer, opening it again", "err", err)
		_ = wait(ctx, retry.NextBackOff()) // the loop looks at ctx itself
	}
	return nil
}

// consume works off what the consumer delivers until ctx ends, or until the server stops delivering, which is
// the error. It says whether it worked off anything.
func (l *lane) consume(ctx, graceful context.Context, cons jetstream.Consumer) (worked bool, err error) {
	window := min(16*l.cfg.Batch, l.cfg.MaxAckPending/2)
	f := openFeed(cons, l.rest, l.cfg.Batch, window, l.js.Conn().MaxPayload())
	defer f.close()
	defer l.keepAlive(func() { f.touch(); l.tags.touch() })()
	stop := ctx.Done()
	due := time.NewTimer(0)
	defer due.Stop()
	var msgs []jetstream.Msg
	var early time.Duration
	for last := false; graceful.Err() == nil; {
		select {
		case <-stop: // take no more, and finish what the server sends: it would let that lie for AckWait
			stop = nil
			f.end()
		case <-graceful.Done():
		case <-f.done:
			last = true
		case <-f.wake:
		case <-due.C:
		}
		if msgs, early = f.take(msgs, l.held); len(msgs) > 0 {
			worked = true
			_ = l.work(graceful, msgs) // fails only when graceful has ended, and so has ctx
		} else if last {
			err = f.err
			break
		}
		if early > 0 {
			due.Reset(early)
		}
	}
	// What is not due is kept while we live: the server would give it back to us only after AckWait.
	l.rest = f.left()
	if ctx.Err() != nil {
		for _, m := range l.rest {
			_ = m.Nak() // others have it at once; if that does not arrive, after AckWait
		}
		l.rest = nil
		l.tags.drain(graceful)
		l.flush(graceful)
	}
	return worked, err
}

// held returns for how long a message has to wait still.
func (l *lane) held(m received) time.Duration {
	if l.delay == 0 {
		return 0
	}
	from := l.clock.latest(storedAt(m.Reply()), m.at)
	if l.gate != nil {
		passed, ok := l.gate.Passed(from)
		if !ok {
			return gatePause
		}
		from = passed
	}
	return time.Until(from.Add(l.delay))
}

// flush waits until the acks have left, if there is a server to take them.
func (l *lane) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if conn := l.js.Conn(); conn.IsConnected() {
		if err := conn.FlushWithContext(ctx); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			l.log.Warn("acks may not have arrived, their events will be delivered again", "err", err)
		}
	}
}

// bury dead-letters poison. Only the lane that deletes at once does that; the others let it go, so that a person finds one
// letter.
func (l *lane) bury(ctx context.Context, poison []poisoned) (buried, left int) {
	if l.dead != nil {
		return l.dead.bury(ctx, poison)
	}
	for _, p := range poison {
		_ = p.msg.Ack() // if that does not arrive, it is delivered again
	}
	return 0, 0
}

// invalidate does what has to be done for the messages in hand, in the order that makes it safe: resolve, unlink,
// and only when Redis has said yes to every key, acknowledge; those with tags are acknowledged when the members of the
// tags are gone. Then poison goes to the dead letters. An error means that ctx ended before; nothing was acknowledged
// then.
func (l *lane) invalidate(ctx context.Context, msgs []jetstream.Msg) error {
	began := time.Now()
	b := &l.batch
	b.reset()
	l.noter.reset()
	for _, msg := range msgs {
		b.add(l.resolver, msg, l.expired)
		l.noter.take(msg, b.found, l.expired)
	}
	stop := l.keepAlive(func() { touch(msgs) })
	defer stop()
	deleted, err := l.unlinkBatch(ctx, b)
	if err != nil {
		return err
	}
	unlinked := time.Now()
	l.noter.write(l.durable, b, deleted)
	crash.Point("unlinked")
	failed := 0
	for _, msg := range b.good {
		if msg.Ack() != nil {
			failed++ // it will be delivered again, and that does no harm
		}
	}
	if err := l.tags.enqueue(ctx, b.tagged); err != nil {
		return err
	}
	dead, deadErrors := l.bury(ctx, b.poison)
	l.stats.update(func(s *Lane) {
		s.Events += int64(len(b.events) + b.unasked)
		s.Unmatched += int64(b.unmatched + b.unasked)
		s.Skipped += int64(b.skipped)
		s.Keys += int64(b.asked)
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
	if l.cfg.Observe != nil {
		l.cfg.Observe(Done{
			Consumer: l.durable, Delay: l.delay, Events: b.events, Keys: b.asked, Deleted: deleted,
			Unlinked: unlinked, Took: time.Since(began),
		})
	}
	return nil
}
