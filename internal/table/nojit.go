package table

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// NoJIT runs a query without just-in-time compilation, for queries over many partitions. Each partition adds to the
// cost that the planner expects, so it chooses JIT, and to the code that JIT compiles: 265 functions took 1.4 s for a
// page of 60 rows, and more partitions took 7 s. The setting lasts until the end of the caller's transaction, or,
// without one, until the end of this round trip.
func (t *Table) NoJIT(ctx context.Context, db outbox.DB, query string, args ...any) (pgx.Rows, error) {
	both := &pgx.Batch{}
	both.Queue(t.q.NoJIT)
	both.Queue(query, args...)
	results := db.SendBatch(ctx, both)
	if _, err := results.Exec(); err != nil {
		_ = results.Close() // Exec has returned the error already
		return nil, err
	}
	rows, err := results.Query()
	if err != nil {
		_ = results.Close()
		return nil, err
	}
	return &batchRows{Rows: rows, results: results}, nil
}

// batchRows returns the connection when it is closed. Until then it is unknown whether what the query wrote is
// committed.
type batchRows struct {
	pgx.Rows
	results pgx.BatchResults
	closed  bool
	err     error
}

// Close reads the remaining results. Err then returns the error of that, if there was one.
func (r *batchRows) Close() {
	r.Rows.Close()
	if !r.closed {
		r.closed, r.err = true, r.results.Close()
	}
}

func (r *batchRows) Err() error {
	if err := r.Rows.Err(); err != nil {
		return err
	}
	return r.err
}
