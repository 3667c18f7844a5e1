package staleness

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/seed-6eff6314/outbox-relay/internal/wait"
	"github.com/seed-6eff6314/outbox-relay/invalidate/fill"
)

// instances is how many caches of package fill the readers share, as if they were in that many processes.
const instances = 4

// readers are all readers of an arm.
type readers struct {
	env    *environment
	oracle *Oracle
	clock  clock
	fills  []*fill.Cache[int]

	reads, hits, selects, failed, abandoned atomic.Int64
	longest                                 atomic.Int64 // ns from before the SELECT to after the SETEX
}

func newReaders(env *environment, oracle *Oracle, c clock) (*readers, error) {
	r := &readers{env: env, oracle: oracle, clock: c}
	for range instances {
		cache, err := fill.New(env.rdb, fill.Config[int]{})
		if err != nil {
			return nil, err
		}
		r.fills = append(r.fills, cache)
	}
	return r, nil
}

// run reads until ctx ends, and returns once no fill is in progress.
func (r *readers) run(ctx context.Context) error {
	var group errgroup.Group
	for i := range r.env.cfg.Readers {
		group.Go(func() error {
			rng := rand.New(rand.NewPCG(r.env.cfg.Seed, uint64(1000+i)))    // #nosec G404 G115 -- must be repeatable
			rows := rand.NewZipf(rng, skew, flat, uint64(r.env.cfg.Rows-1)) // #nosec G115 -- positive
			pace := newPace(float64(r.env.cfg.Reads)/float64(r.env.cfg.Readers), rng)
			one := reader{r, rng, r.fills[i%instances]}
			for pace.wait(ctx, 1) {
				row, page := int(rows.Uint64()), rng.IntN(len(pages)) // #nosec G115 -- less than Rows
				err := one.read(context.WithoutCancel(ctx), row, page)
				if errors.Is(err, errDatabase) {
					return fmt.Errorf("read: %w", err)
				}
				if err != nil { // Redis is not available
					r.failed.Add(1)
					_ = wait.For(ctx, 50*time.Millisecond) // the loop checks ctx
				}
			}
			return nil
		})
	}
	err := group.Wait()
	for _, cache := range r.fills {
		cache.Wait()
	}
	return err
}

// A reader is one goroutine of readers.
type reader struct {
	*readers
	rng  *rand.Rand
	fill *fill.Cache[int]
}

var errDatabase = errors.New("query the database")

func (r reader) read(ctx context.Context, row, page int) error {
	r.reads.Add(1)
	if r.env.arm.Fill {
		return r.readByFill(ctx, row, page)
	}
	key, began := cacheKey(row, page), r.clock.now()
	version, err := r.env.rdb.Get(ctx, key).Int()
	if err == nil {
		r.hits.Add(1)
		r.oracle.Found(row, version, began)
		return nil
	}
	if !errors.Is(err, redis.Nil) {
		return err
	}
	selected := r.clock.now()
	if version, err = r.load(ctx, row); err != nil {
		return err
	}
	if r.clock.now()-selected > r.env.cfg.FillWithin { // as a request with a deadline would do
		r.abandoned.Add(1)
		return nil
	}
	err = r.env.rdb.Set(ctx, key, version, r.env.arm.TTL).Err()
	took := int64(r.clock.now() - selected)
	for longest := r.longest.Load(); took > longest && !r.longest.CompareAndSwap(longest, took); {
		longest = r.longest.Load()
	}
	return err
}

func (r reader) readByFill(ctx context.Context, row, page int) error {
	began := r.clock.now()
	version, err := r.fill.Get(ctx, cacheKey(row, page), r.env.arm.TTL, func(ctx context.Context) (int, error) {
		return r.load(context.WithoutCancel(ctx), row)
	})
	if err == nil {
		r.oracle.Found(row, version, began)
	}
	return err
}

// load reads the version of a row and then stalls.
func (r reader) load(ctx context.Context, row int) (version int, err error) {
	r.selects.Add(1)
	if err := r.env.reads.QueryRow(ctx, "SELECT version FROM acct WHERE id = $1", row).Scan(&version); err != nil {
		return 0, fmt.Errorf("%w: %w", errDatabase, err)
	}
	if !r.env.arm.Smooth {
		return version, wait.For(ctx, r.env.cfg.Stall.draw())
	}
	return version, nil
}

// hitCount returns how many reads found their value in the cache.
func (r *readers) hitCount() (hits int64) {
	if !r.env.arm.Fill {
		return r.hits.Load()
	}
	for _, cache := range r.fills {
		hits += cache.Stats().Hits
	}
	return hits
}
