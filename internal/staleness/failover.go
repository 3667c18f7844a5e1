package staleness

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
)

// failOver promotes a replica that misses the last deletes: its link to the master breaks, the master goes on for some
// time, and then it dies. What was deleted in between is there again. It is over when the invalidator says that it has
// deleted again what may have come back.
func (s *stage) failOver(ctx context.Context) (over func(context.Context) error, note string, err error) {
	replica, err := s.redis.Replica(ctx)
	if err != nil {
		return nil, "", err
	}
	if err := replica.Promote(ctx); err != nil { // from now on it takes nothing from the master
		return nil, "", errors.Join(err, replica.Close())
	}
	rest(ctx, missedFor)
	old, said := s.redis, s.invalidator.log.count(replayed)
	if err := old.Kill(); err != nil {
		return nil, "", errors.Join(err, replica.Close())
	}
	s.redis = replica
	if err := old.Close(); err != nil {
		return nil, "", err
	}
	stale, err := s.staleIn(ctx, replica)
	if err != nil {
		return nil, "", err
	}
	s.cache.lead(redisAddr(replica))
	note = fmt.Sprintf("brought %d stale keys back", stale)
	if s.arm.Blind {
		return s.worksOff, note, nil
	}
	over = func(ctx context.Context) error {
		err := await(ctx, healWithin, "replay", func(context.Context) error {
			if s.invalidator.log.count(replayed) == said {
				return errors.New("the invalidator does not say so")
			}
			return nil
		})
		if err != nil {
			return errors.Join(err, fmt.Errorf("it said:\n%s", s.invalidator.log.tail()))
		}
		return s.worksOff(ctx)
	}
	return over, note, nil
}

// replayed is what the invalidator says when it has deleted again what a fail-over may have brought back.
const replayed = "deleted again what may have come back"

// staleIn counts the keys of a server that differ from their rows.
func (s *stage) staleIn(ctx context.Context, server *devstack.Redis) (int, error) {
	rdb := redis.NewClient(&redis.Options{Addr: redisAddr(server)})
	defer rdb.Close() //nolint:errcheck // it has only read
	_, stale, err := s.compare(ctx, rdb)
	return len(stale), err
}

// compare returns how many keys are cached, and which of them differ from their rows.
func (s *stage) compare(ctx context.Context, rdb *redis.Client) (cached int, stale []string, err error) {
	rows, err := s.pool.Query(ctx, "SELECT version FROM acct ORDER BY id")
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
			return 0, nil, fmt.Errorf("read cache: %w", err)
		}
		for i, value := range values {
			text, ok := value.(string)
			if !ok {
				continue
			}
			cached++
			if text != strconv.Itoa(want[from+i]) {
				stale = append(stale, fmt.Sprintf("%s has %s, the row %d", keys[from+i], text, want[from+i]))
			}
		}
	}
	return cached, stale, nil
}
