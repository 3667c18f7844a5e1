// Package sqlstate names the error codes of PostgreSQL that this project branches on.
//
// https://www.postgresql.org/docs/current/errcodes-appendix.html
package sqlstate

import (
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Codes, named after their condition in PostgreSQL's manual.
const (
	FeatureNotSupported   = "0A000"
	UniqueViolation       = "23505"
	CheckViolation        = "23514"
	InvalidPassword       = "28P01"
	InvalidSchemaName     = "3F000"
	SerializationFailure  = "40001"
	DeadlockDetected      = "40P01"
	InsufficientPrivilege = "42501"
	UndefinedFunction     = "42883"
	UndefinedTable        = "42P01"
	DiskFull              = "53100"
	TooManyConnections    = "53300"
	LockNotAvailable      = "55P03"
	QueryCanceled         = "57014"
	AdminShutdown         = "57P01"
	CrashShutdown         = "57P02"
	CannotConnectNow      = "57P03"
)

// Is reports whether the chain of err has an error of PostgreSQL with one of these codes.
func Is(err error, codes ...string) bool {
	return slices.Contains(codes, Of(err))
}

// Of returns the code of the first error of PostgreSQL in the chain of err, or "" if there is none.
func Of(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return ""
}

// MissingSchema reports whether PostgreSQL did not find a schema, a table or a function.
func MissingSchema(err error) bool {
	return Is(err, UndefinedTable, InvalidSchemaName, UndefinedFunction)
}

// BadData reports whether PostgreSQL refused the values of a statement: class 22, data exception, and class 23,
// integrity constraint violation.
func BadData(err error) bool {
	code := Of(err)
	return strings.HasPrefix(code, "22") || strings.HasPrefix(code, "23")
}
