package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/dial"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
)

func inspectRedis(ctx context.Context, s *session, u *checkup) (err error) {
	rdb, err := dial.Redis(s.set, slog.New(slog.DiscardHandler), dial.OneDial)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rdb.Close()) }()
	var facts redisFacts
	err = dial.Await(ctx, s.set, exit.Redis, func() (err error) {
		ctx, cancel := dial.Within(ctx)
		defer cancel()
		if facts, err = readRedis(ctx, rdb); err != nil && !exit.IsRedisRefusal(err) {
			err = exit.Unreached(exit.Redis, err)
		}
		return err
	})
	if err != nil {
		u.unreached(err, "redis-cli -u \"$REDIS_URL\" ping; to see the URL in use, run: outbox config show")
		return nil
	}
	checkRedis(u, facts)
	return nil
}

// redisFacts is INFO of one server.
type redisFacts map[string]string

func readRedis(ctx context.Context, rdb redis.UniversalClient) (redisFacts, error) {
	facts := redisFacts{}
	for _, section := range []string{"server", "replication", "memory"} {
		text, err := rdb.Info(ctx, section).Result()
		if err != nil {
			return nil, fmt.Errorf("info %s: %w", section, err)
		}
		for line := range strings.Lines(text) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
				facts[name] = value
			}
		}
	}
	return facts, nil
}

func checkRedis(u *checkup, f redisFacts) {
	u.ok("reachable", "redis %s, %s", f["redis_version"], f["redis_mode"])
	if role := f["role"]; role != "master" {
		u.fail("role", "set the URL of the master, or of its sentinels: redis-sentinel://h1:26379/master", "%s: it rejects deletes", role)
	} else {
		u.ok("role", "master")
	}
	policy, most, used := f["maxmemory_policy"], f.number("maxmemory"), f.number("used_memory")
	if most > 0 && policy == "noeviction" && used > most/10*9 {
		u.warn("memory", "redis-cli config set maxmemory-policy allkeys-lru", "noeviction with %d of %d bytes used: the cache will reject the values of readers", used, most)
		return
	}
	u.ok("memory", "maxmemory %d, policy %s", most, policy)
}

func (f redisFacts) number(name string) int64 {
	n, _ := strconv.ParseInt(f[name], 10, 64) //nolint:errcheck // a missing field counts as 0
	return n
}
