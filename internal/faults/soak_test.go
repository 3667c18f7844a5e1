package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/verify"
)

const soakEnv = "OUTBOX_SOAK" // how long; a few faults when empty

// TestSoak breaks one thing after another, at random, for as long as it is told, and judges every round of faults.
// OUTBOX_SEED repeats the order of a run, not its timing.
func TestSoak(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv(soakEnv))
	if err != nil && os.Getenv(soakEnv) != "" {
		t.Fatalf("%s: %v", soakEnv, err)
	}
	k := &soak{postgres: devtest.OwnPostgres(t, devstack.PostgresConfig{}), broker: devtest.OwnNATS(t), redis: devtest.OwnRedis(t),
		rng: rand.New(rand.NewPCG(seed(), 5)), counts: make(map[string]int)}
	k.scene = newScene(t, options{database: k.postgres.URL(), nats: k.broker.URL()})
	k.scene.cacheIn(k.redis)
	t.Logf("seed %d", seed())
	began := time.Now()
	for round := 1; round == 1 || time.Since(began) < length; round++ {
		faults := 5
		if length > 0 {
			faults = 40
		}
		k.round(t, faults)
		if t.Failed() {
			t.Fatalf("round %d, seed %d", round, seed())
		}
		t.Logf("%v: round %d, %v, %+v", time.Since(began).Round(time.Second), round, k.counts, k.scene.row.verdict)
	}
}

// soak is everything that can be broken.
type soak struct {
	scene    *scene
	postgres *devstack.Postgres
	broker   *devstack.NATS
	redis    *devstack.Redis
	relays   [2]*program
	caches   [2]*program
	rng      *rand.Rand
	counts   map[string]int
}

func (k *soak) round(t *testing.T, faults int) {
	s := k.scene
	for i := range k.relays {
		k.relays[i], k.caches[i] = s.relay(fmt.Sprintf("relay%d", i), ""), s.invalidator("")
	}
	l := s.write(8, 2*time.Millisecond, true)
	for range faults {
		pause(t.Context(), time.Duration(k.rng.IntN(400))*time.Millisecond)
		k.fault(t)
	}
	l.stop()
	s.rest()
	s.eventually(20*time.Second, "what was deleted is published again", func(ctx context.Context) error {
		stream := verify.Stream{Table: s.table, Pool: s.pool, Conn: s.nc, Name: s.stream}
		v, err := stream.Verify(ctx)
		if err == nil && v.Lost > 0 {
			err = fmt.Errorf("%d events are missing", v.Lost)
		}
		return err
	})
	s.judge()
	for i := range k.relays {
		k.relays[i].kill()
		k.caches[i].kill()
	}
}

func (k *soak) fault(t *testing.T) {
	i, s := k.rng.IntN(2), k.scene
	away := func() { pause(t.Context(), time.Duration(k.rng.IntN(1500))*time.Millisecond) }
	kinds := []struct {
		name   string
		inject func()
	}{
		{"relay killed", func() { k.relays[i].kill(); k.relays[i] = s.relay(fmt.Sprintf("relay%d", i), "") }},
		{"relay stopped", func() { k.relays[i].signal(syscall.SIGSTOP); away(); k.relays[i].signal(syscall.SIGCONT) }},
		{"invalidator killed", func() { k.caches[i].kill(); k.caches[i] = s.invalidator("") }},
		{"invalidator stopped", func() { k.caches[i].signal(syscall.SIGSTOP); away(); k.caches[i].signal(syscall.SIGCONT) }},
		{"nats restarted", func() { s.must(k.broker.Stop()); away(); s.must(k.broker.Start()) }},
		{"postgres crashed", func() { s.must(k.postgres.Kill()); away(); s.must(k.postgres.Start(t.Context())) }},
		{"redis restarted", func() { s.must(k.redis.Stop()); away(); s.must(k.redis.Start(t.Context())) }},
		{"sessions ended", func() { s.endSessions() }},
		{"message deleted", func() { s.deleteMessage(k.rng) }},
	}
	kind := kinds[k.rng.IntN(len(kinds))]
	kind.inject()
	k.counts[kind.name]++
}

// endSessions ends the sessions of all relays at the server.
func (s *scene) endSessions() {
	s.t.Helper()
	s.eventually(30*time.Second, "end the sessions", func(ctx context.Context) error {
		_, err := s.pool.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'outbox relay %'")
		return err
	})
}

// deleteMessage deletes one of the last hundred messages of the stream, unless it is gone already.
func (s *scene) deleteMessage(rng *rand.Rand) {
	s.t.Helper()
	s.eventually(30*time.Second, "delete a message", func(ctx context.Context) error {
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

// cacheIn puts the cache into a server of the scenario's own.
func (s *scene) cacheIn(server *devstack.Redis) {
	s.t.Helper()
	options, err := redis.ParseURL(server.URL())
	s.must(err)
	s.redURL, s.rdb = server.URL(), redis.NewClient(options)
	s.t.Cleanup(func() { _ = s.rdb.Close() })
}
