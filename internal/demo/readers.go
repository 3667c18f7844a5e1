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

	"github.com/seed-6eff6314/outbox-relay/internal/wait"
)

const (
	// readsPerReader limits the reads a second of one reader, so that the readers do not take all processors.
	readsPerReader = 300
	// skew makes some accounts hotter than others: the hottest 1 % get 100^(-1/skew) of the reads, here two fifths.
	skew = 5
	// One fill in slowShare is slow: it takes up to slowest between reading the row and filling the cache.
	slowShare = 4
	slowest   = 1500 * time.Millisecond
	// scanPage is how many keys one SCAN reads.
	scanPage = 1000
)

// A cache is Redis as plain cache-aside readers use it: GET; on a miss SELECT and SETEX with a long TTL. The readers know
// nothing of the outbox. Some fills are slow, so that the race of cache-aside happens.
type cache struct {
	cfg      *Config
	env      *environment
	balance  string // the SELECT statement
	accounts int

	fills *errgroup.Group // slow fills that Run waits for; at most slowest × readsPerReader × Config.Readers / slowShare at a time

	hits, misses, slow, raced atomic.Int64
}

func newCache(cfg *Config, env *environment) *cache {
	return &cache{
		cfg: cfg, env: env, accounts: cfg.Scale * accountsPerScale,
		balance: "SELECT abalance FROM " + env.accounts() + " WHERE aid = $1",
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

// account chooses the account to read. pgbench changes all accounts with the same probability.
func (c *cache) account() int {
	return 1 + int(math.Pow(rand.Float64(), skew)*float64(c.accounts)) // #nosec G404 -- not a secret
}

func (c *cache) read(ctx context.Context, aid int) error {
	key := c.env.key(strconv.Itoa(aid))
	err := c.env.rdb.Get(ctx, key).Err()
	if err == nil {
		c.hits.Add(1)
		return nil
	}
	if !errors.Is(err, redis.Nil) {
		return err
	}
	c.misses.Add(1)
	var balance int
	if err := c.env.pool.QueryRow(ctx, c.balance, aid).Scan(&balance); err != nil {
		return err
	}
	if rand.IntN(slowShare) == 0 { // #nosec G404 -- not a secret
		c.slow.Add(1)
		c.fills.Go(func() error { return c.fillLate(ctx, key, aid, balance) })
		return nil
	}
	return c.env.rdb.Set(ctx, key, balance, c.cfg.TTL).Err()
}

// fillLate fills the cache after a delay, as a reader does that was paused.
func (c *cache) fillLate(ctx context.Context, key string, aid, balance int) error {
	if wait.For(ctx, rand.N(slowest)) != nil { // #nosec G404 -- not a secret
		return nil
	}
	if err := c.env.rdb.Set(ctx, key, balance, c.cfg.TTL).Err(); err != nil {
		return nilIfEnded(ctx, fmt.Errorf("fill the cache late: %w", err))
	}
	var now int // only for the report: whether the fill was stale
	if err := c.env.pool.QueryRow(ctx, c.balance, aid).Scan(&now); err != nil {
		return nilIfEnded(ctx, fmt.Errorf("read the row again: %w", err))
	}
	if now != balance {
		c.raced.Add(1)
	}
	return nil
}

// key returns the key under which the balance of an account is cached.
func (e *environment) key(aid string) string { return e.prefix + "account:" + aid + ":balance" }

// eachKey calls page with all keys of the demo. A key may come more than once.
func (e *environment) eachKey(ctx context.Context, page func(keys []string) error) error {
	var cursor uint64
	for {
		keys, next, err := e.rdb.Scan(ctx, cursor, e.key("*"), scanPage).Result()
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
