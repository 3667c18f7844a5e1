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

	"github.com/seed-6eff6314/outbox-relay/internal/wait"
)

const (
	// Writers and readers choose row k with a probability proportional to (flat+k)^-skew.
	skew = 1.2
	flat = 20
	// mostRows is how many rows a transaction changes at most; the average is about half.
	mostRows = 8
)

// writers update rows, and in some arms delete the cached values.
type writers struct {
	env     *environment
	ledger  *Ledger
	clock   clock
	updates atomic.Int64 // rows
	forgot  atomic.Int64 // rows whose cached values a crashed writer did not delete
}

// run writes until ctx ends, and finishes the transactions that have begun.
func (w *writers) run(ctx context.Context) error {
	var group errgroup.Group
	for i := range w.env.cfg.Writers {
		group.Go(func() error {
			rng := rand.New(rand.NewPCG(w.env.cfg.Seed, uint64(i)))                     // #nosec G404 G115 -- must be repeatable
			rows := rand.NewZipf(rng, skew, flat, uint64(w.env.cfg.Rows-1))             // #nosec G115 -- positive
			pace := newPace(float64(w.env.cfg.Updates)/float64(w.env.cfg.Writers), rng) // rows a second
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

// updateSQL locks the rows in the order of their ids, which excludes deadlocks.
const updateSQL = `WITH locked AS MATERIALIZED (SELECT id FROM acct WHERE id = ANY($1) ORDER BY id FOR UPDATE)
UPDATE acct SET version = version + 1 FROM locked WHERE acct.id = locked.id RETURNING acct.id, version`

// A version is the result of one update.
type version struct{ Row, Version int }

// choose returns the rows of one transaction, without repetition.
func choose(rng *rand.Rand, rows *rand.Zipf) []int {
	chosen := make([]int, 1+rng.IntN(mostRows))
	for i := range chosen {
		chosen[i] = int(rows.Uint64()) // #nosec G115 -- less than Rows
	}
	slices.Sort(chosen)
	return slices.Compact(chosen)
}

// change runs one transaction on these rows.
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
	if w.env.arm.Method == delBefore {
		err = pgx.BeginFunc(ctx, w.env.pool, func(tx pgx.Tx) error {
			if err := update(tx); err != nil {
				return err
			}
			return w.del(ctx, rows)
		})
	} else {
		err = update(w.env.pool) // one transaction, and one round trip
	}
	if err != nil {
		return err
	}
	committed := w.clock.now()
	for _, v := range changed {
		w.ledger.Committed(v.Row, v.Version, committed)
	}
	w.updates.Add(int64(len(rows)))
	if w.env.arm.Method != delAfter {
		return nil
	}
	if rng.IntN(crashShare) == 0 { // the process crashes here
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
	return w.env.rdb.Del(ctx, keys...).Err()
}

// A clock measures the time since the start of an arm.
type clock struct{ start time.Time }

func (c clock) now() time.Duration { return time.Since(c.start) }

// A pace limits one goroutine to a rate on average. A goroutine that falls behind by up to a second catches up.
type pace struct {
	each time.Duration
	next time.Time
	rng  *rand.Rand
}

func newPace(rate float64, rng *rand.Rand) *pace {
	each := time.Duration(float64(time.Second) / rate)
	return &pace{each: each, next: time.Now().Add(time.Duration(rng.Float64() * float64(each))), rng: rng}
}

// wait waits for as long as n operations take at the rate. It returns false when ctx has ended.
func (p *pace) wait(ctx context.Context, n int) bool {
	p.next = p.next.Add(time.Duration(float64(n) * float64(p.each) * (0.5 + p.rng.Float64())))
	if left := time.Until(p.next); left > 0 {
		return wait.For(ctx, left) == nil
	} else if left < -time.Second {
		p.next = time.Now().Add(-time.Second)
	}
	return ctx.Err() == nil
}
