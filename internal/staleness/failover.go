package staleness

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/wait"
)

// failOver promotes a replica that lacks the last deletes: its link to the master breaks, the master serves for a while
// longer and then dies. Keys deleted in between are back. The returned function waits until the invalidator reports that
// it has deleted them again.
func (e *environment) failOver(ctx context.Context) (over func(context.Context) error, note string, err error) {
	replica, err := e.redis.Replica(ctx)
	if err != nil {
		return nil, "", err
	}
	if err := replica.Promote(ctx); err != nil { // it no longer receives anything from the master
		return nil, "", errors.Join(err, replica.Close())
	}
	_ = wait.For(ctx, missedFor) // if ctx ends, the next step fails
	old, mark := e.redis, e.invalidator.output.Mark()
	if err := old.Kill(); err != nil {
		return nil, "", errors.Join(err, replica.Close())
	}
	e.redis = replica
	if err := old.Close(); err != nil {
		return nil, "", err
	}
	stale, err := e.countStale(ctx, replica)
	if err != nil {
		return nil, "", err
	}
	e.master.redirect(redisAddr(replica))
	note = fmt.Sprintf("%d stale keys came back", stale)
	if e.arm.Blind {
		return e.catchUp, note, nil
	}
	over = func(ctx context.Context) error {
		err := await(ctx, repairTimeout, "redelivery", func(context.Context) error {
			if !strings.Contains(e.invalidator.output.Since(mark), redelivered) {
				return errors.New("the invalidator has not reported it")
			}
			return nil
		})
		if err != nil {
			return errors.Join(err, fmt.Errorf("its last output:\n%s", e.invalidator.output.Tail()))
		}
		return e.catchUp(ctx)
	}
	return over, note, nil
}

// redelivered is what the invalidator logs once it has repeated the deletions that a fail-over may have undone.
const redelivered = "repeated recent deletions"

// countStale counts the keys of a server that differ from their rows.
func (e *environment) countStale(ctx context.Context, server *devstack.Redis) (int, error) {
	rdb := redis.NewClient(&redis.Options{Addr: redisAddr(server)})
	defer rdb.Close() //nolint:errcheck // it was only read from
	_, stale, err := e.compare(ctx, rdb)
	return len(stale), err
}

// compare returns how many keys are cached, and a description of each one that differs from its row.
func (e *environment) compare(ctx context.Context, rdb *redis.Client) (cached int, stale []string, err error) {
	rows, err := e.pool.Query(ctx, "SELECT version FROM acct ORDER BY id")
	if err != nil {
		return 0, nil, fmt.Errorf("read rows: %w", err)
	}
	defer rows.Close()
	var keys []string
	var want []int
	for row := 0; rows.Next(); row++ {
		var version int
		if err := rows.Scan(&version); err != nil {
			return 0, nil, fmt.Errorf("read rows: %w", err)
		}
		for page := range pages {
			keys, want = append(keys, cacheKey(row, page)), append(want, version)
		}
	}
	if err := rows.Err(); err != nil {
		return 0, nil, fmt.Errorf("read rows: %w", err)
	}
	const page = 1000
	for from := 0; from < len(keys); from += page {
		to := min(from+page, len(keys))
		values, err := rdb.MGet(ctx, keys[from:to]...).Result()
		if err != nil {
			return 0, nil, fmt.Errorf("read the cache: %w", err)
		}
		for i, value := range values {
			text, ok := value.(string)
			if !ok {
				continue
			}
			cached++
			if text != strconv.Itoa(want[from+i]) {
				stale = append(stale, fmt.Sprintf("%s is version %s, its row is %d", keys[from+i], text, want[from+i]))
			}
		}
	}
	return cached, stale, nil
}
