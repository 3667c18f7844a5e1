package devstack_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

func sentinelClient(t *testing.T, s *devstack.RedisSentinel) redis.UniversalClient {
	t.Helper()
	client := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: s.Addrs(), MasterName: s.MasterName()})
	t.Cleanup(func() { client.Close() })
	return client
}

// A client goes on where a killed master's replica was promoted, with the key that was
// deleted while that was deaf; the old master comes back as a replica.
func TestRedisSentinelPromotes(t *testing.T) {
	t.Parallel()
	parent := serverParent(t)
	s, err := devstack.StartRedisSentinel(t.Context(), devstack.RedisSentinelConfig{Dir: parent})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if want := "redis-sentinel://" + strings.Join(s.Addrs(), ",") + "/mymaster/0"; s.URL() != want || len(s.Addrs()) != 3 {
		t.Errorf("URL %s", s.URL())
	}
	client := sentinelClient(t, s)
	old, heir := s.Master(), s.Replica()
	deleteUnheard(t, client, "k", heir, func() error { return heir.Deafen(t.Context()) })
	if err := errors.Join(old.Kill(), heir.Thaw(), s.AwaitFailover(t.Context())); err != nil {
		t.Fatal(err)
	}
	if s.Master() != heir || s.Replica() != old {
		t.Error("master and replica have not changed places")
	}
	devtest.Eventually(t, within, "a client of the new master", func() error {
		return errors.Join(client.Get(t.Context(), "k").Err(), client.Set(t.Context(), "l", "w", 0).Err())
	})
	if err := s.Failover(t.Context()); err == nil {
		t.Error("failed over to a killed server")
	}
	if err := errors.Join(old.Start(t.Context()), s.Settle(t.Context())); err != nil {
		t.Fatal(err)
	}
	awaitKeys(t, old, 2)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := empty(parent); err != nil {
		t.Error(err)
	}
}

// Sentinels that are told to fail over do, and the master becomes the replica.
func TestRedisSentinelFailover(t *testing.T) {
	t.Parallel()
	s := devtest.OwnRedisSentinel(t)
	old := s.Master()
	if err := s.Failover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := redisClient(t, old).Set(t.Context(), "k", "v", 0).Err(); !redis.IsReadOnlyError(err) {
		t.Errorf("the old master took a write: %v", err)
	}
	if err := sentinelClient(t, s).Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Error(err)
	}
}
