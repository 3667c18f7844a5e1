package devstack_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

// clusterClient returns a client that reloads the cluster state every 100 ms. By default a client reloads it once a
// minute, and not when a master is unreachable.
func clusterClient(t *testing.T, c *devstack.RedisCluster) *redis.ClusterClient {
	t.Helper()
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs(), ClusterStateReloadInterval: 100 * time.Millisecond})
	t.Cleanup(func() { client.Close() })
	return client
}

// keyOf returns a key that belongs to a shard.
func keyOf(c *devstack.RedisCluster, shard int) string {
	for i := 0; ; i++ {
		if key := fmt.Sprintf("{%d}:key", i); c.Shard(key) == shard {
			return key
		}
	}
}

// The cluster serves keys of many slots, each from the master of its shard.
func TestRedisClusterServesAllSlots(t *testing.T) {
	t.Parallel()
	c, client := devtest.RedisCluster(t), devtest.ClusterClient(t)
	if want := "redis-cluster://" + strings.Join(c.Addrs(), ","); c.URL() != want || len(c.Addrs()) != 3 {
		t.Errorf("got URL %s, want %s with three nodes", c.URL(), want)
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
			t.Errorf("%s has %d keys, want at least 400", master.URL(), len(keys))
		}
		pipe, direct := client.Pipeline(), redisClient(t, master).Pipeline()
		for _, key := range keys {
			pipe.Set(t.Context(), key, key, 0)
			direct.Get(t.Context(), key)
		}
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := direct.Exec(t.Context()); err != nil { // MOVED if a key belongs to another master
			t.Error(err)
		}
	}
	for _, key := range []string{"", "123456789", "{tag}a", "{}a", "a{", "{a}{b}", "ü", keyOf(c, 0), keyOf(c, 2)} {
		if slot, err := client.ClusterKeySlot(t.Context(), key).Result(); err != nil || int(slot) != c.Slot(key) {
			t.Errorf("Slot(%q) = %d, want %d, %v", key, c.Slot(key), slot, err)
		}
	}
	if err := c.Failover(t.Context(), 0); err == nil {
		t.Error("Failover of a shard without a replica succeeded")
	}
	if _, err := devstack.StartRedisCluster(t.Context(), devstack.RedisClusterConfig{Replicas: 2}); err == nil {
		t.Error("StartRedisCluster with two replicas succeeded")
	}
}

// A replica takes over from a killed master, on request or by election, and the old master returns as a replica. After
// the promotion of a detached replica, a key that was deleted meanwhile exists again.
func TestRedisClusterFailover(t *testing.T) {
	t.Parallel()
	parent := serverParent(t)
	c, err := devstack.StartRedisCluster(t.Context(), devstack.RedisClusterConfig{Replicas: 1, Dir: parent})
	must(t, err)
	defer c.Close()
	client := clusterClient(t, c)
	for i := range 3 {
		must(t, client.Set(t.Context(), keyOf(c, i), "v", 0).Err())
		awaitKeys(t, c.Replica(i), 1)
	}
	old, heir := c.Master(0), c.Replica(0)
	must(t, old.Kill(), c.AwaitFailover(t.Context(), 0))
	if c.Master(0) != heir || c.Replica(0) != old || c.MasterOf(keyOf(c, 0)) != heir {
		t.Error("after the fail-over, Master and Replica are not exchanged")
	}
	detached := c.Replica(1)
	deleteWhileFrozen(t, client, keyOf(c, 1), detached, func() error { return detached.FreezeDetached(t.Context()) })
	if err := c.Failover(t.Context(), 1); err == nil {
		t.Error("Failover to a frozen node succeeded")
	}
	must(t, c.Master(1).Kill(), detached.Thaw(), c.Failover(t.Context(), 1), c.Failover(t.Context(), 2))
	for i := range 3 {
		devtest.Eventually(t, within, "key readable in shard "+strconv.Itoa(i), func() error {
			return client.Get(t.Context(), keyOf(c, i)).Err()
		})
	}
	must(t, old.Start(t.Context()), c.Settle(t.Context()))
	awaitKeys(t, old, 1)
	if err := client.Set(t.Context(), keyOf(c, 0), "w", 0).Err(); err != nil {
		t.Error(err)
	}
	if err := c.Failover(t.Context(), 1); err == nil {
		t.Error("Failover to a killed node succeeded")
	}
	wantClosed(t, parent, c)
}

// awaitKeys waits until a server, which may be a replica, has n keys.
func awaitKeys(t *testing.T, r *devstack.Redis, n int64) {
	t.Helper()
	client := redisClient(t, r)
	devtest.Eventually(t, within, fmt.Sprintf("%d keys at %s", n, r.URL()), func() error {
		held, err := client.DBSize(t.Context()).Result()
		if err == nil && held != n {
			err = fmt.Errorf("got %d keys", held)
		}
		return err
	})
}
