package staleness

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// skew and flat say how rows are chosen, by writers and readers alike: row k with probability (flat+k)^-skew.
const (
	skew = 1.2
	flat = 20
	// mostRows is how many rows one transaction changes at most, on average half of that.
	mostRows = 8
)

// writers update rows, and delete cached values if their arm says so.
type writers struct {
	s       *stage
	ledger  *Ledger
	clock   clock
	updates atomic.Int64 // rows
	forgot  atomic.Int64 // rows whose keys a crashed writer left in the cache
}

// run writes until ctx ends; what was begun is finished.
func (w *writers) run(ctx context.Context) error {
	var group errgroup.Group
	for i := range w.s.cfg.Writers {
		group.Go(func() error {
			rng := rand.New(rand.NewPCG(w.s.cfg.Seed, uint64(i)))                   // #nosec G404 G115 -- to be repeated
			rows := rand.NewZipf(rng, skew, flat, uint64(w.s.cfg.Rows-1))           // #nosec G115 -- positive
			pace := newPace(float64(w.s.cfg.Updates)/float64(w.s.cfg.Writers), rng) // rows a second
			for n := 0; pace.wait(ctx, n); {
				chosen := choose(rng, rows)
				n = len(chosen)
				if err := w.change(context.WithoutCancel(ctx), chosen, rng); err != nil {
					return fmt.Errorf("write: %w", err)
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// updateSQL locks the rows in their order first, so that no two transactions wait for each other.
const updateSQL = `WITH locked AS MATERIALIZED (SELECT id FROM acct WHERE id = ANY($1) ORDER BY id FOR UPDATE)
UPDATE acct SET version = version + 1 FROM locked WHERE acct.id = locked.id RETURNING acct.id, version`

// A version is what one update made of a row.
type version struct{ Row, Version int }

// choose returns the rows of one transaction, each once.
func choose(rng *rand.Rand, rows *rand.Zipf) []int {
	chosen := make([]int, 1+rng.IntN(mostRows))
	for i := range chosen {
		chosen[i] = int(rows.Uint64()) // #nosec G115 -- less than Rows
	}
	slices.Sort(chosen)
	return slices.Compact(chosen)
}

// change is one transaction.
func (w *writers) change(ctx context.Context, rows []int, rng *rand.Rand) error {
	var changed []version
	update := func(db interface {
		Query(context.Context, string, ...any) (pgx.Rows, error)
	}) error {
		found, err := db.Query(ctx, updateSQL, rows)
		if err == nil {
			changed, err = pgx.CollectRows(found, pgx.RowToStructByPos[version])
		}
		return err
	}
	var err error
	if w.s.arm.Method == delBefore {
		err = pgx.BeginFunc(ctx, w.s.pool, func(tx pgx.Tx) error {
			if err := update(tx); err != nil {
				return err
			}
			return w.del(ctx, rows)
		})
	} else {
		err = update(w.s.pool) // one transaction, and one round trip
	}
	if err != nil {
		return err
	}
	committed := w.clock.now()
	for _, v := range changed {
		w.ledger.Committed(v.Row, v.Version, committed)
	}
	w.updates.Add(int64(len(rows)))
	if w.s.arm.Method != delAfter {
		return nil
	}
	if rng.IntN(delForgotten) == 0 {
		w.forgot.Add(int64(len(rows)))
		return nil
	}
	return w.del(ctx, rows)
}

func (w *writers) del(ctx context.Context, rows []int) error {
	var keys []string
	for _, row := range rows {
		for page := range pages {
			keys = append(keys, cacheKey(row, page))
		}
	}
	return w.s.rdb.Del(ctx, keys...).Err()
}

// A clock measures from the start of an arm.
type clock struct{ start time.Time }

func (c clock) now() time.Duration { return time.Since(c.start) }

// A pace has one goroutine do so many things a second on average, and catch up when it was held up for less than a second.
type pace struct {
	each time.Duration
	next time.Time
	rng  *rand.Rand
}

func newPace(rate float64, rng *rand.Rand) *pace {
	each := time.Duration(float64(time.Second) / rate)
	return &pace{each: each, next: time.Now().Add(time.Duration(rng.Float64() * float64(each))), rng: rng}
}

// wait waits until n more things were done in their time, and says whether ctx goes on.
func (p *pace) wait(ctx context.Context, n int) bool {
	p.next = p.next.Add(time.Duration(float64(n) * float64(p.each) * (0.5 + p.rng.Float64())))
	if left := time.Until(p.next); left > 0 {
		return rest(ctx, left)
	} else if left < -time.Second {
		p.next = time.Now().Add(-time.Second)
	}
	return ctx.Err() == nil
}

// rest waits as part of the load, and says whether it came to the end.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
