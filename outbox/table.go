package outbox

import (
	"context"
	"database/sql"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	text "github.com/seed-6eff6314/outbox-relay/sql"
)

// DefaultSchema is the schema that the package functions use.
const DefaultSchema = text.DefaultSchema

// Table is the outbox in one schema. It holds statements and no connection. Safe for concurrent use.
type Table struct {
	schema string
	q      statements
}

// statements are the texts in sql/queries that this package sends.
type statements struct {
	Attach, Attached, Detach, Insert                              string
	MigrationInsert, MigrationList, MigrationLock, MigrationTable string
}

// DB is what methods that need no transaction of their own take: *pgxpool.Pool, *pgx.Conn or pgx.Tx.
type DB interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// Beginner is what methods that begin transactions take: *pgxpool.Pool or *pgx.Conn.
type Beginner interface {
	DB
	Begin(ctx context.Context) (pgx.Tx, error)
}

// In returns the outbox in a schema. The name must have 1 to 48 letters, digits, _ - or $, and begin with a letter or
// _. In does not check whether the schema exists: see CheckMigrated.
func In(schema string) (*Table, error) {
	q, err := text.Bind[statements](schema)
	if err != nil {
		return nil, err
	}
	return &Table{schema: schema, q: q}, nil
}

// inDefault is the outbox in DefaultSchema, for the package functions.
var inDefault = func() *Table {
	t, err := In(DefaultSchema)
	if err != nil {
		panic(err) // the name is a valid constant
	}
	return t
}()

// Schema returns the name of the schema, unquoted.
func (t *Table) Schema() string { return t.schema }

// Insert writes events into the outbox in the schema "outbox". See Table.Insert.
func Insert(ctx context.Context, tx pgx.Tx, events ...Event) ([]uuid.UUID, error) {
	return inDefault.Insert(ctx, tx, events...)
}

// InsertSQL writes events into the outbox in the schema "outbox". See Table.InsertSQL.
func InsertSQL(ctx context.Context, tx *sql.Tx, events ...Event) ([]uuid.UUID, error) {
	return inDefault.InsertSQL(ctx, tx, events...)
}

// in puts a text that names the default schema into the table's own.
func (t *Table) in(query string) string { return text.In(t.schema, query) }
