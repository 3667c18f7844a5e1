package devstack_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

// childEnv makes this test binary a program that starts a server of each kind, and a
// small tablespace if it may, in a folder and then meets one of the ends below: "END FOLDER".
const childEnv = "DEVSTACK_TEST_CHILD"

// redisGroups as the end: groups of Redis servers are started instead, and it is the
// test that kills the child.
const redisGroups = "redis-groups"

func TestMain(m *testing.M) {
	if order := os.Getenv(childEnv); order != "" {
		end, dir, _ := strings.Cut(order, " ")
		child(end, dir)
	}
	devtest.Main(m)
}

func child(end, dir string) {
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
	fmt.Scanln() // until the test has seen the servers run
	switch end {
	case "panic":
		panic("as the test ordered")
	case "exit":
		os.Exit(3)
	}
	select {} // until the test kills us
}

// startAll starts a server of each kind.
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

// startGroups starts a Redis Cluster, and Redis under sentinels, with a frozen member
// in each.
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

// serverParent returns a folder that a Postgres of another uid can enter, unlike
// t.TempDir.
func serverParent(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "devstack-test-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// empty reports, as an error, what is left in a folder.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("%s still holds %v", dir, entries)
	}
	return err
}

// within bounds what a test awaits from servers on a busy machine.
const within = 30 * time.Second
