package devtest

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
)

var sharedRedis lazy[*devstack.Redis]

// Redis returns the Redis server of this test binary. Tests share it: a test must use only keys with its own [Prefix],
// and [OwnRedis] if it stops, flushes or fills the server.
func Redis(t testing.TB) *devstack.Redis {
	t.Helper()
	return sharedRedis.get(t, func() (*devstack.Redis, error) {
		return devstack.StartRedis(context.Background(), devstack.RedisConfig{})
	})
}

// OwnRedis starts a server for this test only, with the last cfg or the zero value.
func OwnRedis(t testing.TB, cfg ...devstack.RedisConfig) *devstack.Redis {
	t.Helper()
	server, err := devstack.StartRedis(t.Context(), last(cfg))
	return own(t, server, err)
}

// OwnReplica starts a replica of master for this test only.
func OwnReplica(t testing.TB, master *devstack.Redis) *devstack.Redis {
	t.Helper()
	server, err := master.Replica(t.Context())
	return own(t, server, err)
}

// RedisClient returns a new client of [Redis], closed when the test ends.
func RedisClient(t testing.TB) *redis.Client {
	t.Helper()
	opts, err := redis.ParseURL(Redis(t).URL())
	if err != nil {
		t.Fatalf("parse the Redis URL: %v", err)
	}
	client := redis.NewClient(opts)
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Errorf("close the Redis client: %v", err)
		}
	})
	return client
}

// Prefix returns a prefix for the keys of this test, such as "t_plan_3fa2c_17:". The keys are not deleted when the test
// ends, only with the server.
func Prefix(t testing.TB) string { return unique(t) + ":" }
