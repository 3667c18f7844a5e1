// Package dead reads dead events, and records what a person decides about them: to replay or to drop them.
//
// Dead events come from two sources: events that the relay parked because the stream refuses them, and dead letters,
// which are events that a consumer cannot process. A replay inserts a copy of the event and records the decision in
// the same transaction. So a run that is killed and started again replays no event twice and loses none.
package dead

import (
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	text "github.com/seed-6eff6314/outbox-relay/sql"
)

// Store replays and drops the dead events of one outbox. Safe for concurrent use.
type Store struct {
	t *table.Table
	q statements
}

// statements are the texts in sql/queries that this package sends.
type statements struct {
	DeadDecide, DeadDecided, DeadLast, DeadParked, DeadRows string
}

// In returns the store of an outbox.
func In(t *table.Table) *Store {
	q, err := text.Bind[statements](t.Schema())
	if err != nil {
		panic(err) // the table has a valid schema
	}
	return &Store{t: t, q: q}
}
