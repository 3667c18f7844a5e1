package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

const soakEnv = "OUTBOX_SOAK" // duration; empty means one round with a few faults

// TestSoak injects random faults, one at a time, for the duration in OUTBOX_SOAK, and verifies the promises after each
// round. OUTBOX_SEED repeats the order of the faults, not their timing.
func TestSoak(t *testing.T) {
	length := durationFrom(t, soakEnv)
	k := &soak{postgres: devtest.OwnPostgres(t, devstack.PostgresConfig{}), broker: devtest.OwnNATS(t), redis: devtest.OwnRedis(t),
		rng: rand.New(rand.NewPCG(seed(), 5)), counts: make(map[string]int)}
	k.scenario = newScenario(t, options{database: k.postgres.URL(), nats: k.broker.URL()})
	k.scenario.useRedis(k.redis)
	t.Logf("seed %d", seed())
	began := time.Now()
	for round := 1; round == 1 || time.Since(began) < length; round++ {
		faults := 5
		if length > 0 {
			faults = 40
		}
		k.round(t, faults)
		if t.Failed() {
			t.Fatalf("round %d failed, seed %d", round, seed())
		}
		t.Logf("%v: round %d, %v, %+v", time.Since(began).Round(time.Second), round, k.counts, k.scenario.row.verdict)
	}
}

// soak holds the servers and programs that faults can be injected into.
type soak struct {
	scenario *scenario
	postgres *devstack.Postgres
	broker   *devstack.NATS
	redis    *devstack.Redis
	relays   [2]*program
	caches   [2]*program
	rng      *rand.Rand
	counts   map[string]int
}

func (k *soak) round(t *testing.T, faults int) {
	s := k.scenario
	for i := range k.relays {
		k.relays[i], k.caches[i] = s.startRelay(fmt.Sprintf("relay%d", i), ""), s.startInvalidator("")
	}
	l := s.startLoad(8, 2*time.Millisecond, true)
	for range faults {
		pause(t.Context(), time.Duration(k.rng.IntN(400))*time.Millisecond)
		k.fault(t)
	}
	l.stop()
	s.awaitIdle()
	stream := s.verifier()
	s.eventually(20*time.Second, "deleted messages published again", func(ctx context.Context) error {
		v, err := stream.Verify(ctx)
		if err == nil && v.Lost > 0 {
			err = fmt.Errorf("%d events are missing", v.Lost)
		}
		return err
	})
	s.verify()
	for i := range k.relays {
		k.relays[i].Kill()
		k.caches[i].Kill()
	}
}

func (k *soak) fault(t *testing.T) {
	i, s := k.rng.IntN(2), k.scenario
	wait := func() { pause(t.Context(), time.Duration(k.rng.IntN(1500))*time.Millisecond) }
	kinds := []struct {
		name   string
		inject func()
	}{
		{"relay killed", func() { k.relays[i].Kill(); k.relays[i] = s.startRelay(fmt.Sprintf("relay%d", i), "") }},
		{"relay stopped", func() { k.relays[i].signal(syscall.SIGSTOP); wait(); k.relays[i].signal(syscall.SIGCONT) }},
		{"invalidator killed", func() { k.caches[i].Kill(); k.caches[i] = s.startInvalidator("") }},
		{"invalidator stopped", func() { k.caches[i].signal(syscall.SIGSTOP); wait(); k.caches[i].signal(syscall.SIGCONT) }},
		{"nats restarted", func() { s.must(k.broker.Stop()); wait(); s.must(k.broker.Start()) }},
		{"postgres crashed", func() { s.must(k.postgres.Kill()); wait(); s.must(k.postgres.Start(t.Context())) }},
		{"redis restarted", func() { s.must(k.redis.Stop()); wait(); s.must(k.redis.Start(t.Context())) }},
		{"sessions terminated", func() { s.eventually(30*time.Second, "sessions terminated", s.terminateRelaySessions) }},
		{"message deleted", func() { s.deleteMessage(k.rng) }},
	}
	kind := kinds[k.rng.IntN(len(kinds))]
	kind.inject()
	k.counts[kind.name]++
}

// terminateRelaySessions terminates the database sessions of all relays.
func (s *scenario) terminateRelaySessions(ctx context.Context) error {
	_, err := s.pool.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'outbox relay%'")
	return err
}

// deleteMessage deletes one of the last hundred messages of the stream. It does nothing if that message is already
// deleted.
func (s *scenario) deleteMessage(rng *rand.Rand) {
	s.t.Helper()
	s.eventually(30*time.Second, "message deleted", func(ctx context.Context) error {
		stream, err := s.js.Stream(ctx, s.stream)
		if err != nil {
			return err
		}
		last := stream.CachedInfo().State.LastSeq
		if last < 100 {
			return nil
		}
		err = stream.DeleteMsg(ctx, last-rng.Uint64N(100))
		if errors.Is(err, jetstream.ErrMsgNotFound) || errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
			return nil
		}
		return err
	})
}
