package outbox

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/internal/pgtx"
	"github.com/seed-6eff6314/outbox-relay/internal/sqlstate"
)

// Attachment describes a capture trigger: what happens to a table becomes events, with no application code.
type Attachment struct {
	Table      string      // as SQL names it: users, shop."Order"
	Subject    string      // template: users.{id}.updated, users.{id}.{op}
	Key        string      // template; defaults to the primary key's columns joined by dots
	Columns    []string    // of the payload, a JSON object; defaults to the whole row
	Watch      []string    // an UPDATE counts only if one of these changed; defaults to any change
	Operations []Operation // defaults to all three
	AttachedAt time.Time   // set by Attached
}

// Operation is a kind of change to a row.
type Operation string

// The operations that a capture trigger can watch.
const (
	OpInsert Operation = "insert"
	OpUpdate Operation = "update"
	OpDelete Operation = "delete"
)

// Attach puts capture triggers on a table, or replaces them, and returns the name of the function they call. It
// waits at most lockTimeout for the table's lock, during which writers queue behind it; try again when it fails.
func (t *Table) Attach(ctx context.Context, db Beginner, a Attachment, lockTimeout time.Duration) (function string, err error) {
	operations := a.Operations
	if len(operations) == 0 {
		operations = []Operation{OpInsert, OpUpdate, OpDelete}
	}
	err = pgtx.WithLockTimeout(ctx, db, lockTimeout, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, t.q.Attach, a.Table, a.Subject, orNull(a.Key), a.Columns, a.Watch, operations).Scan(&function)
	})
	if err != nil {
		return "", fmt.Errorf("attach to %s: %w", a.Table, t.target(ctx, db, err))
	}
	return function, nil
}

// Detach removes the capture triggers of a table and says whether there were any.
func (t *Table) Detach(ctx context.Context, db Beginner, table string, lockTimeout time.Duration) (found bool, err error) {
	err = pgtx.WithLockTimeout(ctx, db, lockTimeout, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, t.q.Detach, table).Scan(&found)
	})
	if err != nil {
		return false, fmt.Errorf("detach from %s: %w", table, t.target(ctx, db, err))
	}
	return found, nil
}

// target tells a table of the application that is missing from an outbox that is: PostgreSQL says both with one code.
func (t *Table) target(ctx context.Context, db Beginner, err error) error {
	if !sqlstate.Is(err, sqlstate.UndefinedTable, sqlstate.InvalidSchemaName) {
		return t.migrated(err)
	}
	check := func(tx pgx.Tx) error { return t.CheckMigrated(ctx, tx) }
	if missing := pgx.BeginFunc(ctx, db, check); missing != nil {
		return missing
	}
	return fmt.Errorf("no such table in this database; name it as SQL does, with its schema: shop.orders: %w", err)
}

// Attached lists the tables with capture triggers.
func (t *Table) Attached(ctx context.Context, db DB) ([]Attachment, error) {
	rows, err := db.Query(ctx, t.q.Attached)
	if err != nil {
		return nil, fmt.Errorf("list attached tables: %w", t.migrated(err))
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Attachment])
	if err != nil {
		return nil, fmt.Errorf("list attached tables: %w", t.migrated(err))
	}
	return list, nil
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
