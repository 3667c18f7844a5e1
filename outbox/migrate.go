package outbox

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/seed-6eff6314/outbox-relay/internal/sqlstate"
	text "github.com/seed-6eff6314/outbox-relay/sql"
)

// Migration is one numbered step of the schema.
type Migration struct {
	Version   int       `json:"version"`
	Name      string    `json:"name"`
	AppliedAt time.Time `json:"applied_at,omitzero"` // zero if it is pending
}

// Migrate creates the schema if it does not exist, applies every pending migration, and returns those that it applied,
// also along with an error. Each migration runs in a transaction of its own. An advisory lock serializes them, so every
// instance of a service may call Migrate when it starts.
//
// ErrMigrationGap and ErrNewerSchema mean that it changed nothing: a migration is missing in between, or a newer
// version of this package has migrated the schema.
func (t *Table) Migrate(ctx context.Context, db Beginner) ([]Migration, error) {
	var applied []Migration
	for range text.Version() + 1 { // each round applies one; the last one finds none pending
		m, err := t.migrateOne(ctx, db)
		if err != nil {
			return applied, fmt.Errorf("migrate schema %q: %w", t.schema, err)
		}
		if m == nil {
			break
		}
		applied = append(applied, *m)
	}
	return applied, nil
}

func (t *Table) migrateOne(ctx context.Context, db Beginner) (done *Migration, err error) {
	err = pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		// The role that migrates is powerful: objects that others created in public must not shadow what it calls.
		if _, err := tx.Exec(ctx, "SET LOCAL search_path = pg_catalog, pg_temp"); err != nil {
			return fmt.Errorf("pin the search path: %w", err)
		}
		if _, err := tx.Exec(ctx, t.q.MigrationLock); err != nil {
			return fmt.Errorf("take the migration lock: %w", err)
		}
		// CREATE SCHEMA IF NOT EXISTS needs the right to create schemas even if the schema exists.
		var exists bool
		if err := tx.QueryRow(ctx, "SELECT to_regnamespace($1) IS NOT NULL", t.quoted()).Scan(&exists); err != nil {
			return fmt.Errorf("check for the schema: %w", err)
		}
		if !exists {
			if _, err := tx.Exec(ctx, "CREATE SCHEMA "+t.quoted()); err != nil {
				return fmt.Errorf("create the schema: %w", err)
			}
		}
		if _, err := tx.Exec(ctx, t.q.MigrationTable); err != nil {
			return fmt.Errorf("create the migration table: %w", err)
		}
		have, err := t.applied(ctx, tx)
		if err != nil || len(have) == text.Version() {
			return err
		}
		next := text.Migrations()[len(have)]
		if _, err := tx.Exec(ctx, t.in(next.SQL)); err != nil {
			return fmt.Errorf("apply %03d_%s: %w", next.Version, next.Name, positioned(err, next.SQL))
		}
		if _, err := tx.Exec(ctx, t.q.MigrationInsert, next.Version, next.Name); err != nil {
			return fmt.Errorf("record %03d_%s: %w", next.Version, next.Name, err)
		}
		done = &Migration{Version: next.Version, Name: next.Name, AppliedAt: time.Now()}
		return nil
	})
	return done, err
}

// MigrationStatus lists every migration of this package. Those that are pending have no AppliedAt.
func (t *Table) MigrationStatus(ctx context.Context, db DB) ([]Migration, error) {
	have, err := t.applied(ctx, db)
	if err != nil && !errors.Is(err, ErrNotMigrated) {
		return nil, err
	}
	for _, m := range text.Migrations()[len(have):] {
		have = append(have, Migration{Version: m.Version, Name: m.Name})
	}
	return have, nil
}

// CheckMigrated returns nil if the schema has exactly the migrations of this package, ErrNotMigrated if it is missing
// or older, and ErrNewerSchema if it is newer.
func (t *Table) CheckMigrated(ctx context.Context, db DB) error {
	have, err := t.applied(ctx, db)
	if err != nil {
		return err
	}
	if len(have) < text.Version() {
		return fmt.Errorf("%w: schema %q is at version %d of %d; run: outbox migrate up --schema %s",
			ErrNotMigrated, t.schema, len(have), text.Version(), t.schema)
	}
	return nil
}

// MigrationSQL returns the script, for psql and other tools, that does to an empty database what Migrate does.
func (t *Table) MigrationSQL() string {
	var b strings.Builder
	fmt.Fprintf(&b, "BEGIN;\nSET LOCAL search_path = pg_catalog, pg_temp;\n%s;\nCREATE SCHEMA IF NOT EXISTS %s;\n%s\n", strings.TrimSuffix(strings.TrimSpace(t.q.MigrationLock), ";"), t.quoted(), t.q.MigrationTable)
	for _, m := range text.Migrations() {
		fmt.Fprintf(&b, "%s\n%s\n", t.in(m.SQL), t.in(fmt.Sprintf("INSERT INTO outbox.migration (version, name) VALUES (%d, '%s');", m.Version, m.Name)))
	}
	b.WriteString("COMMIT;\n")
	return b.String()
}

// applied lists the migrations that the schema has. A gap, and a version that this package does not know, are errors.
func (t *Table) applied(ctx context.Context, db DB) ([]Migration, error) {
	rows, err := db.Query(ctx, t.q.MigrationList)
	if err != nil {
		return nil, t.listed(err)
	}
	have, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Migration])
	if err != nil {
		return nil, t.listed(err)
	}
	for i, m := range have {
		if m.Version != i+1 {
			return nil, fmt.Errorf("%w: schema %q: want version %d next, found %d; restore the missing row of %s.migration",
				ErrMigrationGap, t.schema, i+1, m.Version, t.quoted())
		}
	}
	if len(have) > text.Version() {
		return nil, fmt.Errorf("%w: schema %q is at version %d, this program supports up to %d; upgrade outbox", ErrNewerSchema, t.schema, len(have), text.Version())
	}
	return have, nil
}

func (t *Table) listed(err error) error {
	if sqlstate.Is(err, sqlstate.UndefinedTable, sqlstate.InvalidSchemaName) {
		return fmt.Errorf("%w: schema %q has no outbox; run: outbox migrate up --schema %s", ErrNotMigrated, t.schema, t.schema)
	}
	return fmt.Errorf("list migrations: %w", err)
}

func (t *Table) quoted() string { return pgx.Identifier{t.schema}.Sanitize() }

// positioned adds line and column to an error of PostgreSQL that has a position in the script.
func positioned(err error, script string) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Position <= 0 || int(pg.Position) > len(script) {
		return err
	}
	before := script[:pg.Position-1]
	line := strings.Count(before, "\n") + 1
	column := len(before) - strings.LastIndexByte(before, '\n')
	return fmt.Errorf("line %d, column %d: %w", line, column, err)
}
