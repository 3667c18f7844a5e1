package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// Attached is what outbox doctor wants to know of a table with a capture trigger.
type Attached struct {
	Table   string
	Exists  bool
	Subject string
	Lost    []string // columns that the trigger names and the table does not have: writing to it fails
	Silent  []string // operations whose trigger is missing or off: no event comes of them
	Writes  int64    // since the server's statistics were reset
	Age     time.Duration
}

// Attached reads what doctor wants to know of the tables that were attached.
func (r *Reader) Attached(ctx context.Context, db outbox.DB) ([]Attached, error) {
	rows, err := db.Query(ctx, r.q.Attached)
	if err != nil {
		return nil, fmt.Errorf("inspect attached tables: %w", r.t.Migrated(err))
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (f Attached, err error) {
		var age float64
		err = row.Scan(&f.Table, &f.Exists, &f.Subject, &f.Lost, &f.Silent, &f.Writes, &age)
		f.Age = time.Duration(age * float64(time.Second))
		return f, err
	})
	if err != nil {
		return nil, fmt.Errorf("inspect attached tables: %w", r.t.Migrated(err))
	}
	return all, nil
}

// SkewOf is by how much a clock that was read between two moments of ours is certainly ahead of it (above 0) or behind (below 0).
func SkewOf(read, before, after time.Time) time.Duration {
	switch {
	case read.After(after):
		return read.Sub(after)
	case read.Before(before):
		return read.Sub(before)
	}
	return 0
}
