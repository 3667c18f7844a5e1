package table

import "errors"

var (
	// ErrPooler says that the session passes a pooler in transaction mode.
	ErrPooler = errors.New("a pooler in transaction mode stands between; give a direct URL of PostgreSQL, or one of a pooler in session mode")

	// ErrMoved says that the outbox was planned in another cluster of PostgreSQL: it was restored here.
	ErrMoved = errors.New("outbox was restored from another cluster")

	// ErrPlanned says that another relay planned the next batch first: it leads, this one does not.
	ErrPlanned = errors.New("another relay planned first")
)
