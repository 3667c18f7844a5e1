package demo

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

const (
	// readsPerReader is how many reads a second one reader does at most; together they leave the machine air.
	readsPerReader = 300
	// skew makes some accounts hotter than others: the hottest 1 % get 100^(-1/skew) of the reads, here two fifths.
	skew = 5
	// one in so many readers is slow: it takes up to slowest between reading the row and filling the cache.
	slowOne = 4
	slowest = 1500 * time.Millisecond
	// scanPage is how many keys are looked at in one go.
	scanPage = 1000
)

// A cache is what plain cache-aside readers see of Redis: GET; on a miss SELECT and SETEX with a long TTL. They know
// nothing of us either. Some of them are slow, so that the race of cache-aside happens.
type cache struct {
	cfg      *Config
	stage    *stage
	balance  string // the SELECT
	accounts int

	fills *errgroup.Group // of Run; slow ones, at most slowest × readsPerReader × Config.Readers / slowOne of them

	hits, misses, slow, raced atomic.Int64
}

func newCache(cfg *Config, s *stage) *cache {
	return &cache{
		cfg: cfg, stage: s, accounts: cfg.Scale * accountsPerScale,
		balance: "SELECT abalance FROM " + s.accounts() + " WHERE aid = $1",
	}
}

// Run reads with Config.Readers goroutines until ctx ends.
func (c *cache) Run(ctx context.Context) error {
	pace := rate.NewLimiter(rate.Limit(readsPerReader*c.cfg.Readers), c.cfg.Readers)
	group, ctx := errgroup.WithContext(ctx)
	c.fills = group
	for range c.cfg.Readers {
		group.Go(func() error {
			for pace.Wait(ctx) == nil {
				if err := c.read(ctx, c.account()); err != nil && ctx.Err() == nil {
					return fmt.Errorf("read through the cache: %w", err)
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// account chooses whose balance is read. pgbench changes all alike.
func (c *cache) account() int {
	return 1 + int(math.Pow(rand.Float64(), skew)*float64(c.accounts)) // #nosec G404 -- nothing to guess
}

func (c *cache) read(ctx context.Context, aid int) error {
	key := c.stage.key(strconv.Itoa(aid))
	err := c.stage.rdb.Get(ctx, key).Err()
	if err == nil {
		c.hits.Add(1)
		return nil
	}
	if !errors.Is(err, redis.Nil) {
		return err
	}
	c.misses.Add(1)
	var balance int
	if err := c.stage.pool.QueryRow(ctx, c.balance, aid).Scan(&balance); err != nil {
		return err
	}
	if rand.IntN(slowOne) == 0 { // #nosec G404 -- nothing to guess
		c.slow.Add(1)
		c.fills.Go(func() error { return c.fillLate(ctx, key, aid, balance) })
		return nil
	}
	return c.stage.rdb.Set(ctx, key, balance, c.cfg.TTL).Err()
}

// fillLate is a reader that was held up.
func (c *cache) fillLate(ctx context.Context, key string, aid, balance int) error {
	timer := time.NewTimer(rand.N(slowest)) // #nosec G404 -- nothing to guess
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil
	}
	if err := c.stage.rdb.Set(ctx, key, balance, c.cfg.TTL).Err(); err != nil {
		return quiet(ctx, fmt.Errorf("fill the cache late: %w", err))
	}
	var now int // only to tell afterwards what happened
	if err := c.stage.pool.QueryRow(ctx, c.balance, aid).Scan(&now); err != nil {
		return quiet(ctx, fmt.Errorf("look at the row: %w", err))
	}
	if now != balance {
		c.raced.Add(1)
	}
	return nil
}

// key is where the balance of an account is cached.
func (s *stage) key(aid string) string { return s.prefix + "account:" + aid + ":balance" }

// eachKey hands out all keys of the demo, page by page; a key may come more than once.
func (s *stage) eachKey(ctx context.Context, page func(keys []string) error) error {
	var cursor uint64
	for {
		keys, next, err := s.rdb.Scan(ctx, cursor, s.key("*"), scanPage).Result()
		if err != nil {
			return fmt.Errorf("scan redis: %w", err)
		}
		if len(keys) > 0 {
			if err := page(keys); err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}
