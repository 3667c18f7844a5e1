package outbox

import (
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
)

var (
	// ErrNoTransaction says that Insert was given something that is not a transaction.
	ErrNoTransaction = errors.New("not a transaction")

	// ErrNotMigrated says that the schema is missing or older than this code. `outbox migrate up` mends it.
	ErrNotMigrated = errors.New("schema is not migrated")

	// ErrMigrationGap says that the schema has migrations that do not follow on one another.
	ErrMigrationGap = errors.New("schema has a gap in its migrations")

	// ErrNewerSchema says that the schema was migrated by a newer version of this code.
	ErrNewerSchema = errors.New("schema is newer than this program")

	// ErrPooler says that the session passes a pooler in transaction mode.
	ErrPooler = errors.New("a pooler in transaction mode stands between; give a direct URL of PostgreSQL, or one of a pooler in session mode")

	// ErrMoved says that the outbox was planned in another cluster of PostgreSQL: it was restored here.
	ErrMoved = errors.New("outbox was restored from another cluster")

	// ErrPlanned says that another relay planned the next batch first: it leads, this one does not.
	ErrPlanned = errors.New("another relay planned first")
)

// hasCode reports whether a PostgreSQL error of this SQLSTATE is in the chain.
func hasCode(err error, code string) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == code
}

const (
	uniqueViolation   = "23505"
	undefinedTable    = "42P01"
	invalidSchemaName = "3F000"
	undefinedFunction = "42883"
	lockNotAvailable  = "55P03"

	checkViolation       = "23514"
	deadlockDetected     = "40P01"
	serializationFailure = "40001"
	queryCanceled        = "57014"
)
