package devstack_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

// clusterClient asks often who is master: it does not ask because one is unreachable,
// and by default only after a minute.
func clusterClient(t *testing.T, c *devstack.RedisCluster) *redis.ClusterClient {
	t.Helper()
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs(), ClusterStateReloadInterval: 100 * time.Millisecond})
	t.Cleanup(func() { client.Close() })
	return client
}

// keyOf returns a key of a shard.
func keyOf(c *devstack.RedisCluster, shard int) string {
	for i := 0; ; i++ {
		if key := fmt.Sprintf("{%d}:key", i); c.Shard(key) == shard {
			return key
		}
	}
}

// Keys of all slots are served, each by the master of its shard.
func TestRedisClusterServesAllSlots(t *testing.T) {
	t.Parallel()
	c, client := devtest.RedisCluster(t), devtest.ClusterClient(t)
	if want := "redis-cluster://" + strings.Join(c.Addrs(), ","); c.URL() != want || len(c.Addrs()) != 3 {
		t.Errorf("URL %s", c.URL())
	}
	prefix := devtest.Prefix(t)
	slots := map[int]bool{}
	byMaster := map[*devstack.Redis][]string{}
	for i := 0; len(slots) < 2000; i++ {
		key := fmt.Sprint(prefix, i)
		slots[c.Slot(key)] = true
		byMaster[c.MasterOf(key)] = append(byMaster[c.MasterOf(key)], key)
	}
	for master, keys := range byMaster {
		if len(keys) < 400 {
			t.Errorf("%s has %d keys", master.URL(), len(keys))
		}
		pipe, direct := client.Pipeline(), redisClient(t, master).Pipeline()
		for _, key := range keys {
			pipe.Set(t.Context(), key, key, 0)
			direct.Get(t.Context(), key)
		}
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := direct.Exec(t.Context()); err != nil { // MOVED if it belongs to another
			t.Error(err)
		}
	}
	for _, key := range []string{"", "123456789", "{tag}a", "{}a", "a{", "{a}{b}", "ü", keyOf(c, 0), keyOf(c, 2)} {
		if slot, err := client.ClusterKeySlot(t.Context(), key).Result(); err != nil || int(slot) != c.Slot(key) {
			t.Errorf("slot of %q: %d, want %d, %v", key, c.Slot(key), slot, err)
		}
	}
	if err := c.Failover(t.Context(), 0); err == nil {
		t.Error("failed over to nobody")
	}
	if _, err := devstack.StartRedisCluster(t.Context(), devstack.RedisClusterConfig{Replicas: 2}); err == nil {
		t.Error("two replicas")
	}
}

// Killed masters lose their place, by order or by election, and come back as replicas.
// A deaf replica brings back what was deleted.
func TestRedisClusterFailover(t *testing.T) {
	t.Parallel()
	parent := serverParent(t)
	c, err := devstack.StartRedisCluster(t.Context(), devstack.RedisClusterConfig{Replicas: 1, Dir: parent})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	client := clusterClient(t, c)
	for i := range 3 {
		if err := client.Set(t.Context(), keyOf(c, i), "v", 0).Err(); err != nil {
			t.Fatal(err)
		}
		awaitKeys(t, c.Replica(i), 1)
	}
	old, heir := c.Master(0), c.Replica(0)
	if err := errors.Join(old.Kill(), c.AwaitFailover(t.Context(), 0)); err != nil {
		t.Fatal(err)
	}
	if c.Master(0) != heir || c.Replica(0) != old || c.MasterOf(keyOf(c, 0)) != heir {
		t.Error("master and replica have not changed places")
	}
	deaf := c.Replica(1)
	deleteUnheard(t, client, keyOf(c, 1), deaf, func() error { return deaf.Deafen(t.Context()) })
	if err := c.Failover(t.Context(), 1); err == nil {
		t.Error("failed over to a frozen node")
	}
	if err := errors.Join(c.Master(1).Kill(), deaf.Thaw(), c.Failover(t.Context(), 1), c.Failover(t.Context(), 2)); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		devtest.Eventually(t, within, "the key of shard "+strconv.Itoa(i), func() error {
			return client.Get(t.Context(), keyOf(c, i)).Err()
		})
	}
	if err := errors.Join(old.Start(t.Context()), c.Settle(t.Context())); err != nil {
		t.Fatal(err)
	}
	awaitKeys(t, old, 1)
	if err := client.Set(t.Context(), keyOf(c, 0), "w", 0).Err(); err != nil {
		t.Error(err)
	}
	if err := c.Failover(t.Context(), 1); err == nil {
		t.Error("failed over to a killed node")
	}
	for range 2 {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := empty(parent); err != nil {
		t.Error(err)
	}
}

// awaitKeys waits until a server, perhaps a replica, holds n keys.
func awaitKeys(t *testing.T, r *devstack.Redis, n int64) {
	t.Helper()
	client := redisClient(t, r)
	devtest.Eventually(t, within, fmt.Sprintf("%d keys at %s", n, r.URL()), func() error {
		held, err := client.DBSize(t.Context()).Result()
		if err == nil && held != n {
			err = fmt.Errorf("%d keys", held)
		}
		return err
	})
}
