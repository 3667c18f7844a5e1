package table

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// NoJIT runs a query over many partitions without JIT, which the planner takes for worthwhile there: each partition adds to the cost that
// it expects, and to what would be compiled. 265 functions took 1.4 s for a page of 60 rows, and with more partitions 7 s and
// more. The setting lasts for the transaction: without one of the caller's, for this round trip.
func (t *Table) NoJIT(ctx context.Context, db outbox.DB, query string, args ...any) (pgx.Rows, error) {
	both := &pgx.Batch{}
	both.Queue(t.q.NoJIT)
	both.Queue(query, args...)
	results := db.SendBatch(ctx, both)
	if _, err := results.Exec(); err != nil {
		_ = results.Close() // what it says, Exec said
		return nil, err
	}
	rows, err := results.Query()
	if err != nil {
		_ = results.Close()
		return nil, err
	}
	return &quickRows{Rows: rows, results: results}, nil
}

// quickRows gives the connection back when they are closed. Only then is it known whether what was written is committed.
type quickRows struct {
	pgx.Rows
	results pgx.BatchResults
	closed  bool
	err     error
}

// Close reads what is left; Err says what went wrong with that.
func (r *quickRows) Close() {
	r.Rows.Close()
	if !r.closed {
		r.closed, r.err = true, r.results.Close()
	}
}

func (r *quickRows) Err() error {
	if err := r.Rows.Err(); err != nil {
		return err
	}
	return r.err
}
