package table

import "errors"

var (
	// ErrPooler means that a pooler in transaction mode is between the session and PostgreSQL.
	ErrPooler = errors.New("the connection passes a pooler in transaction mode; use the URL of PostgreSQL itself, or of a pooler in session mode")

	// ErrMoved means that the outbox was restored here from another cluster of PostgreSQL, which may still publish.
	ErrMoved = errors.New("outbox was restored from another cluster")

	// ErrPlanned means that another relay planned the next batch first: that one leads now.
	ErrPlanned = errors.New("another relay planned first")
)
