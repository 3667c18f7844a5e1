package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// Attached is a table with capture triggers.
type Attached struct {
	Table   string
	Exists  bool // false if it was dropped, or renamed
	Subject string
	Lost    []string      // columns that its triggers use and it no longer has; every write to it fails
	Silent  []string      // operations whose trigger is missing or disabled; they make no events
	Writes  int64         // rows written since the statistics of the server were reset
	Age     time.Duration // of the attachment
}

// Attached reads the facts about all tables with capture triggers.
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

// ClockSkew returns by how much another clock certainly differs from ours, given its reading and our times before and
// after the reading: positive if it is fast, negative if it is slow, and 0 if the reading is between the two.
func ClockSkew(read, before, after time.Time) time.Duration {
	switch {
	case read.After(after):
		return read.Sub(after)
	case read.Before(before):
		return read.Sub(before)
	}
	return 0
}
