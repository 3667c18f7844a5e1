package outbox

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/internal/pgtx"
	"github.com/seed-6eff6314/outbox-relay/internal/sqlstate"
)

// Attachment describes the capture triggers of a table. They insert an event for each change of a row, without any
// code in the application. Subject and Key are templates: {column} becomes the value of that column, encoded with
// Token in a subject, and {op} becomes insert, update or delete.
type Attachment struct {
	Table      string      // name as in SQL: users, shop."Order"
	Subject    string      // template, such as users.{id}.updated or users.{id}.{op}. Required
	Key        string      // template. Defaults to the columns of the primary key, joined by dots
	Columns    []string    // columns of the payload, a JSON object. Defaults to all of them
	Watch      []string    // an UPDATE makes an event only if one of these columns changed. Defaults to all of them
	Operations []Operation // changes that make an event. Defaults to all three
	AttachedAt time.Time   // set by Attached, ignored by Attach
}

// Operation is a kind of change to a row.
type Operation string

// The operations that a capture trigger can watch.
const (
	OpInsert Operation = "insert"
	OpUpdate Operation = "update"
	OpDelete Operation = "delete"
)

// Attach creates the capture triggers of a table, or replaces them, and returns the name of the function that they
// call.
//
// It waits at most lockTimeout for an exclusive lock of the table. Writers of the table wait with it, so keep the
// timeout short, and retry when it expires. A table that does not exist is an error that contains PostgreSQL's.
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

// Detach removes the capture triggers of a table. It returns false if there were none. The lock is that of Attach.
func (t *Table) Detach(ctx context.Context, db Beginner, table string, lockTimeout time.Duration) (found bool, err error) {
	err = pgtx.WithLockTimeout(ctx, db, lockTimeout, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, t.q.Detach, table).Scan(&found)
	})
	if err != nil {
		return false, fmt.Errorf("detach from %s: %w", table, t.target(ctx, db, err))
	}
	return found, nil
}

// target explains err if the outbox or the table of the application does not exist: PostgreSQL has one code for both.
func (t *Table) target(ctx context.Context, db Beginner, err error) error {
	if !sqlstate.Is(err, sqlstate.UndefinedTable, sqlstate.InvalidSchemaName) {
		return t.migrated(err)
	}
	check := func(tx pgx.Tx) error { return t.CheckMigrated(ctx, tx) }
	if missing := pgx.BeginFunc(ctx, db, check); missing != nil {
		return missing
	}
	return fmt.Errorf("this database has no such table; use the name as in SQL, with its schema, such as shop.orders: %w", err)
}

// Attached lists the capture triggers of all tables.
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
