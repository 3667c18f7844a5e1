// Package doctor reads the facts about a PostgreSQL server and an outbox that `outbox doctor` checks. It changes
// nothing.
package doctor

import (
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	text "github.com/seed-6eff6314/outbox-relay/sql"
)

// Reader reads facts about one outbox and its server. Safe for concurrent use.
type Reader struct {
	t *table.Table
	q statements
}

// statements are the texts in sql/doctor that this package sends.
type statements struct {
	Attached         string `sql:"doctor/attached"`
	LongTransactions string `sql:"doctor/long_transactions"`
	Partitions       string `sql:"doctor/partitions"`
	Server           string `sql:"doctor/server"`
	Table            string `sql:"doctor/table"`
}

// In returns a reader of facts about an outbox.
func In(t *table.Table) *Reader {
	q, err := text.Bind[statements](t.Schema())
	if err != nil {
		panic(err) // the table has a valid schema
	}
	return &Reader{t: t, q: q}
}
