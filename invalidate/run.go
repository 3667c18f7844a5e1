package invalidate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/crash"
)

// Run consumes until ctx ends, then finishes what it has in hand within Config.Grace and returns nil. It
// waits out every outage of NATS and Redis; it returns an error only if it cannot go on: the server refuses
// the consumer at the start, or the connection to NATS was closed for good.
func (v *Invalidator) Run(ctx context.Context) error {
	graceful, cancel := withGrace(ctx, v.cfg.Grace)
	defer cancel()
	retry := newBackoff(longestPause)
	for ctx.Err() == nil {
		cons, err := v.ensure(ctx)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return fmt.Errorf("run invalidator: %w", err)
		}
		worked, err := v.consume(ctx, graceful, cons)
		if ctx.Err() != nil {
			break
		}
		if worked {
			retry.Reset()
		}
		v.log.Warn("lost the consumer, opening it again", "err", err)
		_ = wait(ctx, retry.NextBackOff()) // the loop looks at ctx itself
	}
	return nil
}

// withGrace returns a context that ends grace after ctx does.
func withGrace(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	graceful, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		_ = wait(graceful, grace)
		cancel()
	})
	return graceful, func() { stop(); cancel() }
}

// consume works off what the consumer delivers until ctx ends, or until the server stops delivering, which is
// the error. It says whether it worked off anything.
func (v *Invalidator) consume(ctx, graceful context.Context, cons jetstream.Consumer) (worked bool, err error) {
	window := min(16*v.cfg.Batch, v.cfg.MaxAckPending/2)
	f := openFeed(cons, v.cfg.Batch, window, v.js.Conn().MaxPayload())
	defer f.close()
	defer v.keepAlive(f.touch)()
	stop := ctx.Done()
	var msgs []jetstream.Msg
	for last := false; graceful.Err() == nil; {
		select {
		case <-stop: // take no more, and finish what the server sends: it would let that lie for AckWait
			stop = nil
			f.end()
		case <-graceful.Done():
		case <-f.done:
			last = true
		case <-f.wake:
		}
		if msgs = f.take(msgs); len(msgs) > 0 {
			worked = true
			_ = v.work(graceful, msgs) // fails only when graceful has ended, and so has ctx
		} else if last {
			err = f.err
			break
		}
	}
	if ctx.Err() != nil {
		v.flush(graceful)
	}
	return worked, err
}

// flush waits until the acks have left, if there is a server to take them.
func (v *Invalidator) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if conn := v.js.Conn(); conn.IsConnected() {
		if err := conn.FlushWithContext(ctx); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			v.log.Warn("acks may not have arrived, their events will be delivered again", "err", err)
		}
	}
}

// work does what has to be done for the messages in hand, in the order that makes it safe: resolve, unlink,
// and only when Redis has said yes to every key, acknowledge. Then poison goes to the dead letters. An error
// means that ctx ended before; nothing was acknowledged then.
func (v *Invalidator) work(ctx context.Context, msgs []jetstream.Msg) error {
	began := time.Now()
	b := &v.batch
	b.reset()
	for _, msg := range msgs {
		b.add(v.resolver, msg)
	}
	stop := v.keepAlive(func() { touch(msgs) })
	deleted, err := v.unlink(ctx, b.keys)
	stop()
	if err != nil {
		return err
	}
	unlinked := time.Now()
	crash.Point("unlinked")
	failed := 0
	for _, msg := range b.good {
		if msg.Ack() != nil {
			failed++ // it will be delivered again, and that does no harm
		}
	}
	dead, deadErrors := v.dead.bury(ctx, b.poison)
	v.stats.update(func(s *Stats) {
		s.Events += int64(len(b.events))
		s.Unmatched += int64(b.unmatched)
		s.Keys += int64(len(b.keys))
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
	if v.cfg.Observe != nil {
		v.cfg.Observe(Done{Events: b.events, Keys: len(b.keys), Deleted: deleted, Unlinked: unlinked, Took: time.Since(began)})
	}
	return nil
}

// unlink deletes the keys, waiting out every outage of Redis. Meanwhile the feed fills up and makes no more
// requests, and nothing is given back to the server. It fails only when ctx ends before Redis answers.
func (v *Invalidator) unlink(ctx context.Context, keys []string) (deleted int, err error) {
	retry := newBackoff(longestPause)
	var paused time.Time
	defer func() {
		if !paused.IsZero() {
			v.stats.update(func(s *Stats) { s.Paused = false })
		}
	}()
	for {
		done, n, err := unlink(ctx, v.rdb, keys)
		keys, deleted = keys[done:], deleted+n
		if err == nil {
			if !paused.IsZero() {
				v.log.Info("redis answers again, going on", "wait", time.Since(paused))
			}
			return deleted, nil
		}
		v.stats.update(func(s *Stats) { s.RedisErrors++; s.Paused = true })
		if paused.IsZero() {
			paused = time.Now()
			if ctx.Err() == nil {
				v.log.Warn("redis does not answer, pausing", "err", err)
			}
		}
		if wait(ctx, retry.NextBackOff()) != nil {
			return deleted, err
		}
	}
}

// keepAlive has messages touched three times in each AckWait, until stop is called.
func (v *Invalidator) keepAlive(touch func()) (stop func()) {
	var mu sync.Mutex
	var timer *time.Timer
	stopped := false
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(v.cfg.AckWait/3, func() {
		mu.Lock()
		defer mu.Unlock()
		if !stopped {
			touch()
			timer.Reset(v.cfg.AckWait / 3)
		}
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		timer.Stop()
	}
}

// touch tells the server that messages are still wanted.
func touch(msgs []jetstream.Msg) {
	for _, msg := range msgs {
		_ = msg.InProgress() // the server gives it to us again if this does not arrive
	}
}
