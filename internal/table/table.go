package table

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/internal/sqlstate"
	"github.com/seed-6eff6314/outbox-relay/outbox"
	text "github.com/seed-6eff6314/outbox-relay/sql"
)

// Table is the outbox in one schema: outbox.Table, and what the relay and operators need in addition. It holds
// statements and no connection. Safe for concurrent use.
type Table struct {
	*outbox.Table
	q       statements
	channel string // of NOTIFY
}

// statements are the texts in sql/queries and sql/doctor that this package sends.
type statements struct {
	Adopt, AdoptLock, Awake, BaseInsert, Bases, BatchFrom, BlockedRelays, Cluster, ClusterInsert, Cursor   string
	DefaultRows, ExpectedPositions, Extend, Lead, Load, MarkDisplaced, OldestPosition, Park, PartitionDrop string
	PartitionEmpty, Partitions, Pause, Paused, Pauses, Plan, PlannedAfter, Rates, ReceiptInsert            string
	ReceiptLast, RecentEvents, Replan, Resume, Session, Sleep, Status, TrailEvent, TrailKey                string

	NoJIT        string `sql:"no_jit"`
	TrailID      string `sql:"trail_id"`
	PoolerLock   string `sql:"doctor/lock"`
	PoolerHeld   string `sql:"doctor/lock_held"`
	PoolerNotify string `sql:"doctor/notify"`
	PoolerUnlock string `sql:"doctor/unlock"`
}

// In returns the outbox in a schema, as outbox.In does.
func In(schema string) (*Table, error) {
	t, err := outbox.In(schema)
	if err != nil {
		return nil, err
	}
	q, err := text.Bind[statements](schema)
	if err != nil {
		return nil, err
	}
	return &Table{Table: t, q: q, channel: text.In(schema, "outbox.wake")}, nil
}

// SQL returns query, which must name the default schema ("outbox.event"), for the schema of the table.
func (t *Table) SQL(query string) string { return text.In(t.Schema(), query) }

// InsertAndCommit inserts events in a transaction of their own, for probes and tests. See outbox.Table.Insert.
func (t *Table) InsertAndCommit(ctx context.Context, db outbox.Beginner, events ...outbox.Event) (ids []uuid.UUID, err error) {
	err = pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		ids, err = t.Insert(ctx, tx, events...)
		return err
	})
	return ids, err
}

// Migrated adds outbox.ErrNotMigrated to the error of a statement for which the schema, a table or a function is
// missing. It returns every other error unchanged.
func (t *Table) Migrated(err error) error {
	if sqlstate.MissingSchema(err) {
		return fmt.Errorf("%w: schema %q; run: outbox migrate up --schema %s: %w", outbox.ErrNotMigrated, t.Schema(), t.Schema(), err)
	}
	return err
}
