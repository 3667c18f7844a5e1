package invalidate_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/invalidate"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// everyKind checks that an invalidator deletes keys, the members of both types of tags, and values written by the
// IDistributedCache of .NET.
func everyKind(t *testing.T, r *rig, rdb redis.UniversalClient) {
	t.Helper()
	const n = 300
	r.rules = parse(t, fmt.Sprintf(`
rules:
  - {subject: %[1]s.users.*.updated, keys: ["user:$1", "{user:$1}:card"], prefix: ["%[2]s", "%[2]sMyApp:"], echo: 100ms}
  - {subject: %[1]s.tag.*, tags: ["tag:$1"], prefix: ["%[2]s"], echo: 100ms}
`, r.stream, r.prefix))
	var keys []string
	pipe := rdb.Pipeline()
	for i := range n {
		plain, tagged, dotnet := fmt.Sprintf("%suser:%d", r.prefix, i), fmt.Sprintf("%s{user:%d}:card", r.prefix, i), fmt.Sprintf("%sMyApp:user:%d", r.prefix, i)
		pipe.Set(t.Context(), plain, "old", time.Hour)
		pipe.Set(t.Context(), tagged, "old", 0)
		// The layout of Microsoft.Extensions.Caching.StackExchangeRedis: InstanceName + key, with ticks of 100 ns.
		pipe.HSet(t.Context(), dotnet, "absexp", "639000000000000000", "sldexp", "-1", "data", "old")
		pipe.Expire(t.Context(), dotnet, time.Hour)
		keys = append(keys, plain, tagged, dotnet)
		for _, tag := range []string{"set", "zset"} {
			member := fmt.Sprintf("%smember:%s:%d", r.prefix, tag, i)
			pipe.Set(t.Context(), member, "old", time.Hour)
			keys = append(keys, member)
			if tag == "set" {
				pipe.SAdd(t.Context(), r.prefix+"tag:set", member)
			} else {
				pipe.ZAdd(t.Context(), r.prefix+"tag:zset", redis.Z{Score: float64(time.Now().Unix() + 3660), Member: member})
			}
		}
	}
	_, err := pipe.Exec(t.Context())
	fatal(t, err)
	v, err := invalidate.New(r.js, rdb, invalidate.Config{Stream: r.stream, Rules: r.rules})
	fatal(t, err)
	r.run(v)
	r.publish(0, n)
	r.publishTag("set")
	r.publishTag("zset")
	r.acknowledged(durable)
	r.acknowledged("invalidate-echo-100ms")
	for _, key := range keys {
		if there, err := rdb.Exists(t.Context(), key).Result(); err != nil || there > 0 {
			t.Fatalf("%s exists, want it deleted: %v", key, err)
		}
	}
	same(t, "members", []int64{rdb.SCard(t.Context(), r.prefix+"tag:set").Val(), rdb.ZCard(t.Context(), r.prefix+"tag:zset").Val()}, []int{n, n})
	swept, err := invalidate.Sweep{Redis: rdb, Match: []string{r.prefix + "tag:*"}, Grace: time.Millisecond}.Run(t.Context())
	fatal(t, err)
	same(t, "swept", swept, invalidate.Swept{Tags: 2, Members: 2 * n, Removed: n})
}

func TestOnASingleServer(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	everyKind(t, r, r.rdb)
}

func TestOnACluster(t *testing.T) {
	t.Parallel()
	everyKind(t, newRig(t), devtest.ClusterClient(t))
}

// failsOver lets an invalidator delete keys while the replica does not receive the deletions, and then promotes the
// replica. The keys that exist again must be deleted again.
func failsOver(t *testing.T, rdb redis.UniversalClient, deafen, failOver func()) {
	t.Helper()
	const n = 50
	r := newRig(t)
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("%suser:%d:profile", r.prefix, i)
		fatal(t, rdb.Set(t.Context(), keys[i], "old", 0).Err())
	}
	v, err := invalidate.New(r.js, rdb, invalidate.Config{Stream: r.stream, Rules: r.rules, Echo: []time.Duration{50 * time.Millisecond}})
	fatal(t, err)
	r.run(v)
	r.publishEvent(&event.Event{Subject: r.stream + ".users.none.updated"})
	r.published()
	r.acknowledged(durable)
	deafen()
	r.publish(0, n)
	r.acknowledged(durable)
	r.acknowledged("invalidate-echo-50ms")
	failOver()
	r.until(v, "fail-over detected", func(s invalidate.Stats) bool { return s.FailOvers > 0 && s.FailOverRedelivered >= n })
	for _, key := range keys {
		if there, err := rdb.Exists(t.Context(), key).Result(); err != nil || there > 0 {
			t.Errorf("%s exists, want it deleted: %v", key, err)
		}
	}
}

func TestClusterFailsOver(t *testing.T) {
	t.Parallel()
	cluster := devtest.OwnRedisCluster(t, devstack.RedisClusterConfig{Replicas: 1})
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: cluster.Addrs(), ClusterStateReloadInterval: 100 * time.Millisecond})
	t.Cleanup(func() { _ = rdb.Close() })
	failsOver(t, rdb,
		func() {
			for i := range 3 {
				fatal(t, cluster.Replica(i).FreezeDetached(t.Context()))
			}
		},
		func() {
			for i := range 3 {
				replica := cluster.Replica(i)
				fatal(t, cluster.Master(i).Kill())
				fatal(t, replica.Thaw())
				fatal(t, cluster.Failover(t.Context(), i))
			}
		})
}

func TestSentinelFailsOver(t *testing.T) {
	t.Parallel()
	group := devtest.OwnRedisSentinel(t)
	rdb := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: group.MasterName(), SentinelAddrs: group.Addrs()})
	t.Cleanup(func() { _ = rdb.Close() })
	everyKind(t, newRig(t), rdb)
	failsOver(t, rdb,
		func() { fatal(t, group.Replica().FreezeDetached(t.Context())) },
		func() {
			replica := group.Replica()
			fatal(t, group.Master().Kill())
			fatal(t, replica.Thaw())
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			fatal(t, group.AwaitFailover(ctx))
		})
}
