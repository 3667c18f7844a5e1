package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/seed-6eff6314/outbox-relay/internal/jobs"
	"github.com/seed-6eff6314/outbox-relay/internal/sqlstate"
	"github.com/seed-6eff6314/outbox-relay/internal/table/tabletest"
)

// Two processes run one job beside writers that update, delete and insert. Each row gets one event of the job, and no
// event has an older version than an event before it.
func TestBackfillUnderWriters(t *testing.T) {
	table, pool, stock := stock(t)
	const rows = 600
	tabletest.Run(t, pool, "TRUNCATE "+stock, "INSERT INTO "+stock+fmt.Sprintf(" SELECT generate_series(1, %d)", rows), table.SQL("TRUNCATE outbox.event"))
	job := startBackfill(t, table, pool, jobs.BackfillQuery{Table: stock, Op: "insert"}) // distinguishes its events from those of the writers
	ctx, stop := context.WithCancel(t.Context())
	var writers, runners errgroup.Group
	var writes atomic.Int64
	for range 4 {
		writers.Go(func() error {
			for ctx.Err() == nil {
				err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error { // in the order of ids, so that writers do not deadlock among themselves
					_, err := tx.Exec(t.Context(), `SELECT FROM `+stock+` WHERE id IN (SELECT (1 + random() * $1)::int FROM generate_series(1, 3)) ORDER BY id FOR UPDATE`, rows-1)
					if err == nil {
						_, err = tx.Exec(t.Context(), "UPDATE "+stock+" SET v = v + 1 WHERE id = (1 + random() * $1)::int", rows-1)
					}
					return err
				})
				if err != nil && !sqlstate.Is(err, sqlstate.DeadlockDetected) {
					return err
				}
				writes.Add(1)
			}
			return nil
		})
	}
	for range 2 {
		mine := *job
		b := jobs.In(table).NewBackfill(&mine, func(string) {})
		runners.Go(func() error {
			for !mine.Last.Done {
				switch err := b.Step(t.Context(), pool, 7); {
				case errors.Is(err, jobs.ErrStepTaken):
					found, err := jobs.In(table).Job(t.Context(), pool, mine.ID)
					if err != nil {
						return err
					}
					mine.Last = found.Last
				case err != nil:
					return err
				}
			}
			return nil
		})
	}
	err := runners.Wait()
	stop()
	if err := errors.Join(err, writers.Wait()); err != nil {
		t.Fatal(err)
	}
	var once, old int
	if err := pool.QueryRow(t.Context(), table.SQL(`WITH e AS (SELECT id, key, headers->>'Outbox-Op' = 'insert' AS ours, (convert_from(payload, 'UTF8')::jsonb->>'v')::int AS v FROM outbox.event)
		SELECT (SELECT count(*) FROM (SELECT FROM e WHERE ours GROUP BY key HAVING count(*) = 1) AS o),
		       (SELECT count(*) FROM (SELECT v < lag(v) OVER (PARTITION BY key ORDER BY id) AS older FROM e) AS o WHERE older)`)).Scan(&once, &old); err != nil {
		t.Fatal(err)
	}
	if once != rows || old > 0 {
		t.Errorf("%d of %d rows have one event, %d events are older than one before, beside %d writes", once, rows, old, writes.Load())
	}
	t.Logf("beside %d writes", writes.Load())
}
