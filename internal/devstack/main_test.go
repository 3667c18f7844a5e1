package devstack_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

// childEnv makes this test binary run as a program that starts servers in a folder and then ends in a given way. Its
// value is "END FOLDER". For END "panic", "exit" and others it starts one server of each kind, and a small tablespace
// if possible.
const childEnv = "DEVSTACK_TEST_CHILD"

// redisGroups is the END that starts groups of Redis servers instead. The test then kills the program.
const redisGroups = "redis-groups"

func TestMain(m *testing.M) {
	if order := os.Getenv(childEnv); order != "" {
		end, dir, _ := strings.Cut(order, " ")
		runChild(end, dir)
	}
	devtest.Main(m)
}

// runChild prints "ready" when the servers run, and does not return.
func runChild(end, dir string) {
	start := startAll
	if end == redisGroups {
		start = startGroups
	}
	err := start(dir)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	fmt.Scanln() // returns when the test has checked that the servers run
	switch end {
	case "panic":
		panic("requested by the test")
	case "exit":
		os.Exit(3)
	}
	select {} // until the test kills this process
}

// startAll starts one server of each kind.
func startAll(dir string) error {
	ctx := context.Background()
	p, err := devstack.StartPostgres(ctx, devstack.PostgresConfig{Dir: dir})
	if err == nil {
		_, err = devstack.StartPgBouncer(ctx, devstack.PgBouncerConfig{Dir: dir, Postgres: p})
	}
	if err == nil {
		err = p.SmallTablespace(ctx, "small", 1<<20)
	}
	if errors.Is(err, devstack.ErrNoMount) {
		err = nil
	}
	if err == nil {
		_, err = devstack.StartNATS(devstack.NATSConfig{Dir: dir})
	}
	if err == nil {
		_, err = devstack.StartRedis(ctx, devstack.RedisConfig{Dir: dir})
	}
	return err
}

// startGroups starts a Redis Cluster and a Redis Sentinel group, each with a frozen member.
func startGroups(dir string) error {
	ctx := context.Background()
	c, err := devstack.StartRedisCluster(ctx, devstack.RedisClusterConfig{Dir: dir})
	if err != nil {
		return err
	}
	s, err := devstack.StartRedisSentinel(ctx, devstack.RedisSentinelConfig{Dir: dir})
	if err != nil {
		return err
	}
	return errors.Join(c.Master(0).Freeze(), s.Replica().Freeze())
}
