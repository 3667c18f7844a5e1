package local_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/faultnet"
	"github.com/seed-6eff6314/outbox-relay/invalidate/local"
)

// gapless reports whether only the start flushed, so that every other missing value was evicted.
func gapless(s local.Stats) bool { return s.Gaps == 0 && s.Unconfirmed == 0 && s.Flushes <= 2 }

// Across lost connections every event is evicted, without a flush.
func TestCutLinks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	js, proxy := r.breakable()
	e, _ := r.start(js, r.config())
	r.times("flush", 2)
	n := 0
	for i := range 6 {
		for range 5 {
			r.publish(n, n+20)
			n += 20
			if i%2 == 0 {
				proxy.Cut()
			}
		}
		if i%2 == 1 {
			proxy.Refuse()
			r.publish(n, n+700) // more than a pull request
			n += 700
			proxy.Heal()
		}
		r.gone()
	}
	if s := e.Stats(); !gapless(s) || s.Consumers < 2 || s.Keys < int64(n) {
		t.Errorf("%d events, stats are %+v", n, s)
	}
}

// If an open connection loses bytes, heartbeats are missing, and the evictor continues where it was.
func TestDroppedBytes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	js, proxy := r.breakable()
	cfg := r.config()
	cfg.MaxUnconfirmed = 2 * time.Second
	e, _ := r.start(js, cfg)
	r.times("flush", 2)
	proxy.Stall(faultnet.ToClient)
	r.publish(0, 20)
	devtest.Eventually(t, patience, "silence", func() error { return r.log.has("the server does not respond") })
	proxy.Heal()
	proxy.Cut()
	r.gone()
	r.until(e, "all events", func(s local.Stats) bool { return s.Keys == 20 && s.Gaps == 0 && s.Consumers > 1 })
}

// A lost event is noticed when the next event arrives. If no other follows, it is noticed at the next heartbeat, which has
// the number of deliveries.
func TestEventLost(t *testing.T) {
	t.Parallel()
	for name, silent := range map[string]time.Duration{"last": 2 * time.Second, "one of many": time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			cfg := r.config()
			cfg.MaxUnconfirmed = silent
			e, _ := r.start(r.js, cfg)
			r.times("flush", 2)
			n := 2 + steal(r)
			if name != "last" {
				r.publish(n, n+2)
			}
			r.gone()
			if s := e.Stats(); s.Gaps != 0 || s.Consumers < 2 {
				t.Errorf("stats are %+v", s)
			}
		})
	}
}

// steal publishes events and lets another subscriber take one of the last two from the consumer. It returns the number of
// events.
func steal(r *rig) (n int) {
	stream, err := r.js.Stream(r.t.Context(), r.stream)
	fatal(r.t, err)
	var cons jetstream.Consumer
	for name := range stream.ConsumerNames(r.t.Context()).Name() {
		cons, err = r.js.Consumer(r.t.Context(), r.stream, name)
		fatal(r.t, err)
	}
	thief, err := cons.Fetch(1, jetstream.FetchMaxWait(time.Minute))
	fatal(r.t, err)
	devtest.Eventually(r.t, patience, "an event stolen", func() error {
		r.publish(n, n+2) // the server gives requests their turn
		n += 2
		select {
		case <-thief.Messages():
			return nil
		default:
			return errors.New("none")
		}
	})
	return n
}

// outage breaks the connection, changes the stream with harm, repairs the connection, and expects a gap to be logged and
// the cache to be flushed.
func outage(t *testing.T, why string, harm func(r *rig)) {
	t.Helper()
	t.Parallel()
	r := newRig(t)
	js, proxy := r.breakable()
	e, _ := r.start(js, r.config())
	r.publish(0, 50)
	r.gone()
	r.times("flush", 2)
	proxy.Refuse()
	harm(r)
	if len(r.cache.left()) == 0 {
		t.Fatal("the cache has no stale value, so the test shows nothing")
	}
	proxy.Heal()
	r.gone()
	r.until(e, "two flushes for one gap", func(s local.Stats) bool { return s.Gaps == 1 && s.Flushes == 4 })
	at := r.cache.of("flush")
	if at[3].Sub(at[2]) < repeatAfter {
		t.Errorf("flushed at %v", at)
	}
	if err := r.log.has(why); err != nil {
		t.Error(err)
	}
	r.publish(1000, 1010)
	r.gone()
	if s := e.Stats(); s.Gaps != 1 || s.Unconfirmed != 0 {
		t.Errorf("stats are %+v", s)
	}
}

func TestPurgedWhileDisconnected(t *testing.T) {
	outage(t, "the stream begins at sequence 61, was followed to 50", func(r *rig) {
		r.publish(50, 60)
		stream, err := r.js.Stream(t.Context(), r.stream)
		fatal(t, err)
		fatal(t, stream.Purge(t.Context()))
	})
}

func TestTrimmedWhileDisconnected(t *testing.T) {
	outage(t, "the stream begins at sequence 56, was followed to 50", func(r *rig) {
		r.publish(50, 60)
		stream, err := r.js.Stream(t.Context(), r.stream)
		fatal(t, err)
		fatal(t, stream.Purge(t.Context(), jetstream.WithPurgeSequence(56)))
	})
}

func TestStreamRecreatedWhileDisconnected(t *testing.T) {
	for name, n := range map[string]int{"shorter": 10, "longer": 100} {
		t.Run(name, func(t *testing.T) {
			outage(t, "the stream was deleted and created again", func(r *rig) {
				fatal(t, r.js.DeleteStream(t.Context(), r.stream))
				r.makeStream()
				r.publish(0, n)
			})
		})
	}
}

// The stream is deleted and created again while the evictor is connected.
func TestStreamRecreatedWhileConnected(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e, _ := r.start(r.js, r.config())
	for i := range int64(2) {
		r.publish(0, 30)
		fatal(t, r.js.DeleteStream(t.Context(), r.stream))
		r.makeStream()
		r.publish(30, 70)
		r.gone()
		r.until(e, "gap", func(s local.Stats) bool { return s.Gaps == i+1 })
	}
}

// With more than MaxPending events to catch up with, the evictor flushes instead.
func TestTooFarBehind(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	js, proxy := r.breakable()
	cfg := r.config()
	cfg.MaxPending = 500
	e, _ := r.start(js, cfg)
	r.times("flush", 2)
	proxy.Refuse()
	r.publish(0, 501)
	proxy.Heal()
	r.gone()
	r.until(e, "gap", func(s local.Stats) bool { return s.Gaps == 1 && s.Keys == 0 })
}

// The stream drops messages that a slow evictor has not received. The consumer skips them without reporting it.
func TestPurgedAheadOfASlowEvictor(t *testing.T) {
	t.Parallel()
	const n = 3000 // more than all buffers hold
	r := newRig(t)
	cfg := r.config()
	cfg.MaxUnconfirmed = 2 * time.Second
	slow, first := make(chan struct{}), make(chan struct{}, n*2)
	cfg.Evict = func(key string) {
		first <- struct{}{}
		<-slow
		r.cache.evict(key)
	}
	e, _ := r.start(r.js, cfg)
	r.times("flush", 2)
	r.publish(0, n)
	<-first
	stream, err := r.js.Stream(t.Context(), r.stream)
	fatal(t, err)
	fatal(t, stream.Purge(t.Context()))
	close(slow)
	r.until(e, "gap", func(s local.Stats) bool { return s.Gaps > 0 })
	r.gone()
	if s := e.Stats(); s.Events >= n {
		t.Errorf("stats are %+v", s)
	}
}
