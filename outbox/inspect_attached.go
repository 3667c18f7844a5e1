package outbox

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	text "github.com/seed-6eff6314/outbox-relay/sql"
)

// AttachedFacts is what outbox doctor wants to know of a table with a capture trigger.
type AttachedFacts struct {
	Table   string
	Exists  bool
	Subject string
	Lost    []string // columns that the trigger names and the table does not have: writing to it fails
	Silent  []string // operations whose trigger is missing or off: no event comes of them
	Writes  int64    // since the server's statistics were reset
	Age     time.Duration
}

// InspectAttached reads what doctor wants to know of the tables that were attached.
func (t *Table) InspectAttached(ctx context.Context, db DB) ([]AttachedFacts, error) {
	q, err := text.DoctorFor(t.q.Schema)
	if err != nil {
		return nil, err
	}
	rows, err := db.Query(ctx, q.Attached)
	if err != nil {
		return nil, fmt.Errorf("inspect attached tables: %w", t.migrated(err))
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (f AttachedFacts, err error) {
		var age float64
		err = row.Scan(&f.Table, &f.Exists, &f.Subject, &f.Lost, &f.Silent, &f.Writes, &age)
		f.Age = time.Duration(age * float64(time.Second))
		return f, err
	})
	if err != nil {
		return nil, fmt.Errorf("inspect attached tables: %w", t.migrated(err))
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
