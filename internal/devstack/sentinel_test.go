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

// Sentinels promote the replica of a killed master, and a client continues with it. The replica was detached, so a key
// that was deleted meanwhile exists again. The old master returns as a replica.
func TestRedisSentinelPromotes(t *testing.T) {
	t.Parallel()
	parent := serverParent(t)
	s, err := devstack.StartRedisSentinel(t.Context(), devstack.RedisSentinelConfig{Dir: parent})
	must(t, err)
	defer s.Close()
	if want := "redis-sentinel://" + strings.Join(s.Addrs(), ",") + "/mymaster/0"; s.URL() != want || len(s.Addrs()) != 3 {
		t.Errorf("got URL %s, want %s with three sentinels", s.URL(), want)
	}
	client := sentinelClient(t, s)
	old, replica := s.Master(), s.Replica()
	deleteWhileFrozen(t, client, "k", replica, func() error { return replica.FreezeDetached(t.Context()) })
	must(t, old.Kill(), replica.Thaw(), s.AwaitFailover(t.Context()))
	if s.Master() != replica || s.Replica() != old {
		t.Error("after the fail-over, Master and Replica are not exchanged")
	}
	devtest.Eventually(t, within, "client uses the new master", func() error {
		return errors.Join(client.Get(t.Context(), "k").Err(), client.Set(t.Context(), "l", "w", 0).Err())
	})
	if err := s.Failover(t.Context()); err == nil {
		t.Error("Failover to a killed server succeeded")
	}
	must(t, old.Start(t.Context()), s.Settle(t.Context()))
	awaitKeys(t, old, 2)
	wantClosed(t, parent, s)
}

// Failover makes the sentinels promote the replica, and the old master becomes its replica.
func TestRedisSentinelFailover(t *testing.T) {
	t.Parallel()
	s := devtest.OwnRedisSentinel(t)
	old := s.Master()
	must(t, s.Failover(t.Context()))
	if err := redisClient(t, old).Set(t.Context(), "k", "v", 0).Err(); !redis.IsReadOnlyError(err) {
		t.Errorf("SET at the old master: got error %v, want READONLY", err)
	}
	if err := sentinelClient(t, s).Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Error(err)
	}
}
