package devstack_test

import (
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

func TestRedisFreeze(t *testing.T) {
	t.Parallel()
	r := devtest.OwnRedis(t)
	client := redisClient(t, r)
	must(t, client.Ping(t.Context()).Err(), r.Freeze(), r.Freeze())
	if err := client.WithTimeout(50 * time.Millisecond).Ping(t.Context()).Err(); err == nil {
		t.Error("PING to a frozen server succeeded")
	}
	must(t, r.Thaw(), r.Thaw(), client.Ping(t.Context()).Err(), r.Freeze())
	begin := time.Now()
	if err := r.Stop(); err != nil || time.Since(begin) > 10*time.Second { // without waiting for stopGrace, 30 s
		t.Errorf("Stop of a frozen server = %v after %s, want nil within 10s", err, time.Since(begin))
	}
	if r.Freeze() == nil || r.Thaw() == nil || r.FreezeDetached(t.Context()) == nil {
		t.Error("Freeze, Thaw or FreezeDetached of a stopped server succeeded")
	}
	if err := errors.Join(r.Start(t.Context()), client.Ping(t.Context()).Err(), r.Freeze(), r.Close()); err != nil {
		t.Error(err)
	}
	master := devtest.OwnRedis(t)
	if master.FreezeDetached(t.Context()) == nil {
		t.Error("FreezeDetached of a master succeeded")
	}
	pingRedis(t, master)
	external, err := devstack.StartRedis(t.Context(), devstack.RedisConfig{URL: master.URL()})
	must(t, err)
	wantExternal(t, external.Freeze(), external.Thaw(), external.FreezeDetached(t.Context()))
}

// A frozen replica receives, after Thaw, what its master sent meanwhile. A detached replica has missed it: after its
// promotion a key that the master had deleted exists again. A detached replica catches up if its master is running.
// TestRedisClusterFailover and TestRedisSentinelPromotes test the same in groups.
func TestFrozenReplica(t *testing.T) {
	t.Parallel()
	for name, detached := range map[string]bool{"frozen": false, "detached": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			master := devtest.OwnRedis(t)
			replica := devtest.OwnReplica(t, master)
			freeze := replica.Freeze
			if detached {
				freeze = func() error { return replica.FreezeDetached(t.Context()) }
			}
			deleteWhileFrozen(t, redisClient(t, master), "k", replica, freeze)
			must(t, master.Kill(), replica.Thaw())
			must(t, replica.Promote(t.Context()))
			awaitKeys(t, replica, map[bool]int64{false: 0, true: 1}[detached])
		})
	}
	t.Run("catches up", func(t *testing.T) {
		t.Parallel()
		master := devtest.OwnRedis(t)
		replica := devtest.OwnReplica(t, master)
		deleteWhileFrozen(t, redisClient(t, master), "k", replica, func() error { return replica.FreezeDetached(t.Context()) })
		must(t, replica.Thaw())
		awaitKeys(t, replica, 0)
	})
}

// deleteWhileFrozen sets a key, freezes the replica when that has the key, and deletes the key at the master.
func deleteWhileFrozen(t *testing.T, client redis.UniversalClient, key string, replica *devstack.Redis, freeze func() error) {
	t.Helper()
	must(t, client.Set(t.Context(), key, "v", 0).Err())
	awaitKeys(t, replica, 1)
	must(t, freeze(), client.Del(t.Context(), key).Err())
	if err := client.Get(t.Context(), key).Err(); !errors.Is(err, redis.Nil) {
		t.Fatalf("GET of a deleted key: %v, want no value", err)
	}
}
