package outbox

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	text "github.com/seed-6eff6314/outbox-relay/sql"
)

// DefaultSchema is the schema that the package functions use.
const DefaultSchema = text.DefaultSchema

// Table is the outbox of one schema: its statements, and no connection. Safe for concurrent use.
type Table struct {
	q text.Statements
}

// DB is what the methods that need no transaction of their own accept: *pgxpool.Pool, *pgx.Conn, pgx.Tx.
type DB interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// Default is the outbox in the schema "outbox".
var Default = mustIn(DefaultSchema)

// In returns the outbox of a schema whose name has 1 to 48 letters, digits, _ - or $ and begins with a letter
// or _. It does not look whether the schema exists.
func In(schema string) (*Table, error) {
	q, err := text.For(schema)
	if err != nil {
		return nil, err
	}
	return &Table{q: q}, nil
}

func mustIn(schema string) *Table {
	t, err := In(schema)
	if err != nil {
		panic(err) // a constant
	}
	return t
}

// Schema is the name, unquoted.
func (t *Table) Schema() string { return t.q.Schema }

// SQL puts a text that names the default schema ("outbox.event") into this one, quoted.
func (t *Table) SQL(query string) string { return text.In(t.q.Schema, query) }

// Insert writes events into the outbox of the default schema, inside the caller's transaction. See Table.Insert.
func Insert(ctx context.Context, tx any, events ...Event) ([]uuid.UUID, error) {
	return Default.Insert(ctx, tx, events...)
}

// InsertOutsideTx is Insert without a transaction: the events commit by themselves. See Table.InsertOutsideTx.
func InsertOutsideTx(ctx context.Context, db any, events ...Event) ([]uuid.UUID, error) {
	return Default.InsertOutsideTx(ctx, db, events...)
}

// Interfaces that tell a transaction from a pool: both can execute, but only one can begin … except for wrappers
// that nest by savepoints, which are transactions because they can also commit.
type (
	pgxExecer interface {
		Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	}
	sqlExecer interface {
		ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	}
	pgxCommitter interface {
		Commit(ctx context.Context) error
	}
	sqlCommitter interface{ Commit() error }
)

func asTx(tx any) error {
	switch tx := tx.(type) {
	case pgxExecer:
		if _, ok := tx.(pgxCommitter); ok {
			return nil
		}
	case sqlExecer:
		if _, ok := tx.(sqlCommitter); ok {
			return nil
		}
	}
	return fmt.Errorf("%w: %T; begin one (pgx.Tx, *sql.Tx), or call InsertOutsideTx if the events need none", ErrNoTransaction, tx)
}
