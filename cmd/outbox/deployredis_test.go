package main

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/dial"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/invalidate"
)

// aclRedis starts a Redis with deploy/redis/outbox.acl unchanged, and gives its user a password.
func aclRedis(t *testing.T, args ...string) string {
	t.Helper()
	path, err := filepath.Abs("../../deploy/redis/outbox.acl")
	if err != nil {
		t.Fatal(err)
	}
	server := devtest.OwnRedis(t, devstack.RedisConfig{Args: append([]string{"--include", path}, args...)})
	admin := redisAt(t, server.URL())
	for _, password := range []string{"", "any"} {
		if err := admin.Do(t.Context(), "AUTH", "outbox_invalidate", password).Err(); err == nil || !strings.HasPrefix(err.Error(), "WRONGPASS") {
			t.Errorf("log in before the user has a password: %v", err)
		}
	}
	hash := fmt.Sprintf("#%x", sha256.Sum256([]byte("redis-pw")))
	if err := admin.Do(t.Context(), "ACL", "SETUSER", "outbox_invalidate", hash).Err(); err != nil {
		t.Fatal(err)
	}
	if err := admin.Do(t.Context(), "ACL", "LOG", "RESET").Err(); err != nil {
		t.Fatal(err)
	}
	return server.URL()
}

// The user of deploy deletes keys of its patterns, through our own client, without being refused anything on the way:
// on one server, in another database, and in a cluster. It can do nothing else.
func TestDeployedACL(t *testing.T) {
	t.Parallel()
	_, bus, err := net.SplitHostPort(freeAddress()) // by itself it would take one that the kernel gives to clients
	if err != nil {
		t.Fatal(err)
	}
	for kind, c := range map[string]struct {
		args []string
		url  func(string) string
	}{
		"server":   {nil, func(url string) string { return url }},
		"database": {nil, func(url string) string { return strings.TrimSuffix(url, "/0") + "/3" }},
		"cluster":  {[]string{"--cluster-enabled", "yes", "--cluster-port", bus}, func(url string) string { return strings.Replace(url, "redis://", "redis-cluster://", 1) }},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			url := aclRedis(t, c.args...)
			admin := redisAt(t, url)
			if c.args != nil {
				if err := admin.Do(t.Context(), "CLUSTER", "ADDSLOTSRANGE", 0, 16383).Err(); err != nil {
					t.Fatal(err)
				}
				devtest.Eventually(t, patience, "cluster is up", func() error {
					info, err := admin.ClusterInfo(t.Context()).Result()
					if err == nil && !strings.Contains(info, "cluster_state:ok") {
						err = errors.New(info)
					}
					return err
				})
			}
			password := filepath.Join(t.TempDir(), "password")
			if err := os.WriteFile(password, []byte("redis-pw\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			s := setting.Defaults()
			for key, value := range map[string]string{"redis_url": c.url(url), "redis_user": "outbox_invalidate", "redis_password_file": password} {
				s.Override(key, value, "test")
			}
			rdb, err := dial.Redis(s, s.Log)
			if err != nil {
				t.Fatal(err)
			}
			defer rdb.Close()
			pipe := rdb.Pipeline()
			for _, key := range []string{"user:1", "order:{a}", "users:all"} {
				pipe.Unlink(t.Context(), key)
			}
			if _, err := pipe.Exec(t.Context()); err != nil {
				t.Errorf("unlink: %v", err)
			}
			if err := errors.Join(rdb.Ping(t.Context()).Err(), rdb.Info(t.Context(), "server").Err(), rdb.PTTL(t.Context(), "user:1").Err(),
				rdb.Type(t.Context(), "group:a").Err(), rdb.SScan(t.Context(), "group:a", 0, "", 10).Err(), rdb.ZScan(t.Context(), "group:a", 0, "", 10).Err(),
				invalidate.Now(t.Context(), rdb, "user:1", "order:{a}", "users:all")); err != nil {
				t.Errorf("what an invalidator does: %v", err)
			}
			if log, err := admin.Do(t.Context(), "ACL", "LOG").Slice(); err != nil || len(log) > 0 {
				t.Errorf("refused on the way: %v, %v", log, err)
			}
			refusals(t, rdb)
		})
	}
}

// refusals tries what the user must not do.
func refusals(t *testing.T, rdb redis.UniversalClient) {
	t.Helper()
	for line := range strings.Lines(`GET user:1
SET user:1 x
DEL user:1
EXISTS user:1
EXPIRE user:1 1
COPY user:1 user:2
DUMP user:1
GETDEL user:1
EVAL return(1) 0
SCAN 0
KEYS *
RANDOMKEY
FLUSHALL
FLUSHDB
CONFIG GET *
ACL LIST
MONITOR
SUBSCRIBE x
CLIENT LIST
SHUTDOWN
CLUSTER RESET
UNLINK session:1
`) {
		var words []any
		scan := bufio.NewScanner(strings.NewReader(line))
		scan.Split(bufio.ScanWords)
		for scan.Scan() {
			words = append(words, scan.Text())
		}
		if err := rdb.Do(t.Context(), words...).Err(); err == nil || !strings.HasPrefix(err.Error(), "NOPERM") {
			t.Errorf("%s: %v", strings.TrimSpace(line), err)
		}
	}
}
