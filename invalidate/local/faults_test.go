package local_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/faultnet"
	"github.com/seed-6eff6314/outbox-relay/invalidate/local"
)

// While the server does not confirm anything, the cache is flushed again and again and Healthy returns false.
func TestSilence(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	js, proxy := r.breakable()
	cfg := r.config()
	cfg.MaxUnconfirmed = 300 * time.Millisecond
	e, _ := r.start(js, cfg)
	r.times("flush", 2)
	proxy.Stall(faultnet.ToClient)
	r.publish(0, 10)
	r.gone()
	r.until(e, "three flushes without a confirmation", func(s local.Stats) bool { return s.Unconfirmed >= 3 })
	if e.Healthy() {
		t.Error("healthy without a confirmation")
	}
	proxy.Heal()
	devtest.Eventually(t, patience, "healthy again", func() error {
		if !e.Healthy() {
			return fmt.Errorf("stats are %+v", e.Stats())
		}
		return r.log.has("up to date again")
	})
	r.publish(10, 20)
	r.gone()
}

// After a restart of the server, with its stream, all events are evicted without a gap.
func TestServerStopped(t *testing.T) {
	t.Parallel()
	server := devtest.OwnNATS(t)
	r := newRigOn(t, connect(t, server.URL()), "OUTBOX")
	e, _ := r.start(jetStream(t, connect(t, server.URL())), r.config())
	r.times("flush", 2)
	n := 0
	for range 2 {
		r.publish(n, n+50)
		fatal(t, server.Stop())
		fatal(t, server.Start())
		devtest.Eventually(t, patience, "stream available", func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			_, err := r.js.Stream(ctx, r.stream)
			return err
		})
		r.publish(n+50, n+100)
		n += 100
		r.gone()
	}
	if s := e.Stats(); s.Gaps != 0 || s.Keys < int64(n) {
		t.Errorf("%d events, stats are %+v", n, s)
	}
}

// After random faults of the connection, the consumer and the stream no stale value is left. MaxUnconfirmed is so long that
// no flush for a missing confirmation can have removed one.
func TestRandomFaults(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	r := newRig(t)
	js, proxy := r.breakable()
	cfg := r.config()
	cfg.MaxUnconfirmed = 5 * time.Minute
	e, _ := r.start(js, cfg)
	n := 0
	publish := func() {
		more := random.IntN(40)
		r.publish(n, n+more)
		n += more
	}
	faults := []func(){
		proxy.Cut,
		func() { proxy.Refuse(); publish(); proxy.Heal() },
		func() { proxy.Drop(faultnet.ToClient); publish(); proxy.Heal(); proxy.Cut() },
		func() { proxy.Drop(faultnet.ToServer); publish(); proxy.Heal(); proxy.Cut() },
		func() { proxy.Slice(faultnet.ToClient, 50, time.Millisecond); publish(); proxy.Heal() },
		func() { // purged while the evictor is disconnected
			proxy.Refuse()
			publish()
			stream, err := r.js.Stream(t.Context(), r.stream)
			fatal(t, err)
			fatal(t, stream.Purge(t.Context()))
			publish()
			proxy.Heal()
		},
		func() { // all consumers deleted
			stream, err := r.js.Stream(t.Context(), r.stream)
			fatal(t, err)
			for name := range stream.ConsumerNames(t.Context()).Name() {
				_ = r.js.DeleteConsumer(t.Context(), r.stream, name)
			}
		},
		func() { fatal(t, r.js.DeleteStream(t.Context(), r.stream)); r.makeStream() },
	}
	for range 30 {
		publish()
		faults[random.IntN(len(faults))]()
		publish()
		if random.IntN(2) == 0 {
			r.gone()
		}
	}
	r.gone()
	if s := e.Stats(); s.Unconfirmed != 0 {
		t.Errorf("stats are %+v", s)
	}
}
