package outbox

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// quick runs a query over many partitions without JIT, which the planner takes for worthwhile there: each partition adds to the cost that
// it expects, and to what would be compiled. 265 functions took 1.4 s for a page of 60 rows, and with more partitions 7 s and
// more. The setting lasts for the transaction: without one of the caller's, for this round trip.
func (t *Table) quick(ctx context.Context, db DB, query string, args ...any) (pgx.Rows, error) {
	both := &pgx.Batch{}
	both.Queue(t.q.Quick)
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
	return &quickRows{rows, results}, nil
}

// quickRows gives the connection back when they are closed.
type quickRows struct {
	pgx.Rows
	results pgx.BatchResults
}

// Close reads what is left; Err says what went wrong with that.
func (r *quickRows) Close() {
	r.Rows.Close()
	_ = r.results.Close()
}
