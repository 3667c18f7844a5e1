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
	if err := errors.Join(client.Ping(t.Context()).Err(), r.Freeze(), r.Freeze()); err != nil {
		t.Fatal(err)
	}
	if err := client.WithTimeout(50 * time.Millisecond).Ping(t.Context()).Err(); err == nil {
		t.Error("a frozen server answered")
	}
	if err := errors.Join(r.Thaw(), r.Thaw(), client.Ping(t.Context()).Err(), r.Freeze()); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := r.Stop(); err != nil || time.Since(begin) > 10*time.Second { // of 30 that it is given
		t.Errorf("stop a frozen server: %v after %s", err, time.Since(begin))
	}
	if r.Freeze() == nil || r.Thaw() == nil || r.Deafen(t.Context()) == nil {
		t.Error("froze a stopped server")
	}
	if err := errors.Join(r.Start(t.Context()), client.Ping(t.Context()).Err(), r.Freeze(), r.Close()); err != nil {
		t.Error(err)
	}
	master := devtest.OwnRedis(t)
	if master.Deafen(t.Context()) == nil {
		t.Error("a master was deafened")
	}
	pingRedis(t, master)
	given, err := devstack.StartRedis(t.Context(), devstack.RedisConfig{URL: master.URL()})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{given.Freeze(), given.Thaw(), given.Deafen(t.Context())} {
		if !errors.Is(err, devstack.ErrNotOurs) {
			t.Errorf("want ErrNotOurs, got %v", err)
		}
	}
}

// A frozen replica does, once it thaws, what its master told it meanwhile. A deaf one
// has missed it: once promoted, it has what the master had deleted. One that was deaf
// catches up if its master lives. For groups see TestRedisClusterFailover and
// TestRedisSentinelPromotes.
func TestDeafReplica(t *testing.T) {
	t.Parallel()
	for name, deaf := range map[string]bool{"frozen": false, "deaf": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			master := devtest.OwnRedis(t)
			replica := devtest.OwnReplica(t, master)
			silence := replica.Freeze
			if deaf {
				silence = func() error { return replica.Deafen(t.Context()) }
			}
			deleteUnheard(t, redisClient(t, master), "k", replica, silence)
			if err := errors.Join(master.Kill(), replica.Thaw()); err != nil {
				t.Fatal(err)
			}
			if err := replica.Promote(t.Context()); err != nil {
				t.Fatal(err)
			}
			awaitKeys(t, replica, map[bool]int64{false: 0, true: 1}[deaf])
		})
	}
	t.Run("catches up", func(t *testing.T) {
		t.Parallel()
		master := devtest.OwnRedis(t)
		replica := devtest.OwnReplica(t, master)
		deleteUnheard(t, redisClient(t, master), "k", replica, func() error { return replica.Deafen(t.Context()) })
		if err := replica.Thaw(); err != nil {
			t.Fatal(err)
		}
		awaitKeys(t, replica, 0)
	})
}

// deleteUnheard sets a key, silences the replica that has it, and deletes the key.
func deleteUnheard(t *testing.T, client redis.UniversalClient, key string, replica *devstack.Redis, silence func() error) {
	t.Helper()
	if err := client.Set(t.Context(), key, "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	awaitKeys(t, replica, 1)
	if err := errors.Join(silence(), client.Del(t.Context(), key).Err()); err != nil {
		t.Fatal(err)
	}
	if err := client.Get(t.Context(), key).Err(); !errors.Is(err, redis.Nil) {
		t.Fatalf("deleted, and still there: %v", err)
	}
}
