// Package dead reads events that were set aside, and records what a person decides about them: to replay or to drop them.
package dead

import (
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	text "github.com/seed-6eff6314/outbox-relay/sql"
)

// Store is the dead events of one outbox, and the decisions about them. Safe for concurrent use.
type Store struct {
	t *table.Table
	q statements
}

// statements are the texts in sql/queries that this package sends.
type statements struct {
	DeadDecide, DeadDecided, DeadLast, DeadParked, DeadRows string
}

// In returns the dead events of an outbox.
func In(t *table.Table) *Store {
	q, err := text.Bind[statements](t.Schema())
	if err != nil {
		panic(err) // the table has a valid schema
	}
	return &Store{t: t, q: q}
}
