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

	"github.com/seed-6eff6314/outbox-relay/invalidate/fill"
)

// instances is how many caches of package fill share the readers, as processes would.
const instances = 4

// readers read through the cache.
type readers struct {
	s      *stage
	oracle *Oracle
	clock  clock
	fills  []*fill.Cache[int]

	reads, hits, selects, failed, abandoned atomic.Int64
	longest                                 atomic.Int64 // ns from before the SELECT to after the SETEX
}

func newReaders(s *stage, oracle *Oracle, c clock) (*readers, error) {
	r := &readers{s: s, oracle: oracle, clock: c}
	for range instances {
		cache, err := fill.New(s.rdb, fill.Config[int]{})
		if err != nil {
			return nil, err
		}
		r.fills = append(r.fills, cache)
	}
	return r, nil
}

// run reads until ctx ends, and returns when no fill is under way any more.
func (r *readers) run(ctx context.Context) error {
	var group errgroup.Group
	for i := range r.s.cfg.Readers {
		group.Go(func() error {
			rng := rand.New(rand.NewPCG(r.s.cfg.Seed, uint64(1000+i)))    // #nosec G404 G115 -- to be repeated
			rows := rand.NewZipf(rng, skew, flat, uint64(r.s.cfg.Rows-1)) // #nosec G115 -- positive
			pace := newPace(float64(r.s.cfg.Reads)/float64(r.s.cfg.Readers), rng)
			one := reader{r, rng, r.fills[i%instances]}
			for pace.wait(ctx, 1) {
				row, page := int(rows.Uint64()), rng.IntN(len(pages)) // #nosec G115 -- less than Rows
				err := one.read(context.WithoutCancel(ctx), row, page)
				if errors.Is(err, errDatabase) {
					return fmt.Errorf("read: %w", err)
				}
				if err != nil { // Redis is away
					r.failed.Add(1)
					rest(ctx, 50*time.Millisecond)
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

// A reader is one goroutine of them.
type reader struct {
	*readers
	rng  *rand.Rand
	fill *fill.Cache[int]
}

var errDatabase = errors.New("the database does not answer")

func (r reader) read(ctx context.Context, row, page int) error {
	r.reads.Add(1)
	if r.s.arm.Fill {
		return r.readByFill(ctx, row, page)
	}
	key, began := cacheKey(row, page), r.clock.now()
	version, err := r.s.rdb.Get(ctx, key).Int()
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
	if r.clock.now()-selected > r.s.cfg.FillWithin { // as the deadline of a request would
		r.abandoned.Add(1)
		return nil
	}
	err = r.s.rdb.Set(ctx, key, version, r.s.arm.TTL).Err()
	took := int64(r.clock.now() - selected)
	for longest := r.longest.Load(); took > longest && !r.longest.CompareAndSwap(longest, took); {
		longest = r.longest.Load()
	}
	return err
}

func (r reader) readByFill(ctx context.Context, row, page int) error {
	began := r.clock.now()
	version, err := r.fill.Get(ctx, cacheKey(row, page), r.s.arm.TTL, func(ctx context.Context) (int, error) {
		return r.load(context.WithoutCancel(ctx), row)
	})
	if err == nil {
		r.oracle.Found(row, version, began)
	}
	return err
}

// load reads the row, and stalls before it returns.
func (r reader) load(ctx context.Context, row int) (version int, err error) {
	r.selects.Add(1)
	if err := r.s.reads.QueryRow(ctx, "SELECT version FROM acct WHERE id = $1", row).Scan(&version); err != nil {
		return 0, fmt.Errorf("%w: %w", errDatabase, err)
	}
	if !r.s.arm.Smooth {
		rest(ctx, r.s.cfg.Stall.draw())
	}
	return version, nil
}

// count adds what the caches counted.
func (r *readers) count() (hits int64) {
	if !r.s.arm.Fill {
		return r.hits.Load()
	}
	for _, cache := range r.fills {
		hits += cache.Stats().Hits
	}
	return hits
}
