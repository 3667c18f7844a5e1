package devtest

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
)

var sharedRedisCluster lazy[*devstack.RedisCluster]

// RedisCluster returns the Redis Cluster of this test binary, three masters without replicas. Tests share it: a test
// must use only keys with its own [Prefix], and [OwnRedisCluster] if it stops or fails over a node.
func RedisCluster(t testing.TB) *devstack.RedisCluster {
	t.Helper()
	return sharedRedisCluster.get(t, func() (*devstack.RedisCluster, error) {
		return devstack.StartRedisCluster(context.Background(), devstack.RedisClusterConfig{})
	})
}

// OwnRedisCluster starts a cluster for this test only, with the last cfg or the zero value.
func OwnRedisCluster(t testing.TB, cfg ...devstack.RedisClusterConfig) *devstack.RedisCluster {
	t.Helper()
	cluster, err := devstack.StartRedisCluster(t.Context(), last(cfg))
	return own(t, cluster, err)
}

// OwnRedisSentinel starts a master, a replica and three sentinels for this test only, with the last cfg or the zero
// value.
func OwnRedisSentinel(t testing.TB, cfg ...devstack.RedisSentinelConfig) *devstack.RedisSentinel {
	t.Helper()
	group, err := devstack.StartRedisSentinel(t.Context(), last(cfg))
	return own(t, group, err)
}

// ClusterClient returns a new client of [RedisCluster], closed when the test ends.
func ClusterClient(t testing.TB) *redis.ClusterClient {
	t.Helper()
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: RedisCluster(t).Addrs()})
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Errorf("close the Redis Cluster client: %v", err)
		}
	})
	return client
}
