// Package jobs does work that takes long: replays of events, and backfills, which insert events for the rows of a
// table. A job is a row, and each of its steps is one transaction that also records how far it got. So a job that is
// killed continues where it was, and two processes that run the same job do every step once.
package jobs

import (
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	text "github.com/seed-6eff6314/outbox-relay/sql"
)

// Store starts, lists and runs the jobs of one outbox. Safe for concurrent use.
type Store struct {
	*table.Table
	q statements
}

// statements are the texts in sql/queries that this package sends.
type statements struct {
	BackfillHolders, BackfillPreview, BackfillSpec, BackfillStep, DroppedSince, JobAnnounce, JobList, JobStart string
	ReplayPreview, ReplayRows, ReplayStep                                                                      string

	PositionsOfIDs string `sql:"positions_of_ids"`
}

// In returns the store of the jobs of an outbox.
func In(t *table.Table) *Store {
	q, err := text.Bind[statements](t.Schema())
	if err != nil {
		panic(err) // the table has a valid schema
	}
	return &Store{Table: t, q: q}
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
