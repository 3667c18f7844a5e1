package outbox

import (
	"errors"
	"fmt"

	"github.com/seed-6eff6314/outbox-relay/internal/sqlstate"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

var (
	// ErrInvalid is wrapped by errors about an event that breaks a rule or exceeds a limit. Nothing was sent to the
	// database.
	ErrInvalid = event.ErrInvalid

	// ErrNotMigrated means that the schema is missing or older than this package. Migrate, or `outbox migrate up`,
	// updates it.
	ErrNotMigrated = errors.New("schema is not migrated")

	// ErrMigrationGap means that a migration is missing between those that the schema has.
	ErrMigrationGap = errors.New("schema has a gap in its migrations")

	// ErrNewerSchema means that a newer version of this package migrated the schema.
	ErrNewerSchema = errors.New("schema is newer than this program")
)

// migrated wraps ErrNotMigrated around the error of a statement that did not find the schema or something in it.
func (t *Table) migrated(err error) error {
	if sqlstate.MissingSchema(err) {
		return fmt.Errorf("%w: schema %q; run: outbox migrate up --schema %s: %w", ErrNotMigrated, t.schema, t.schema, err)
	}
	return err
}
