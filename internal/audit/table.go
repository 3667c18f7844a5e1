package audit

import (
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	text "github.com/seed-6eff6314/outbox-relay/sql"
)

// Tables reads the tables of an outbox for an audit, and writes what a repair changes. Safe for concurrent use.
//
// It reads page by page, each page in a transaction of its own, so that an audit of an hour does not hold a snapshot
// for an hour. The plan is append-only, so later pages agree with earlier ones.
type Tables struct {
	*table.Table
	q statements
}

// statements are the texts in sql/queries that this package sends.
type statements struct {
	AuditAccepted, AuditBounds, AuditCopy, AuditDropped, AuditEvents, AuditMissing, AuditOrphans, AuditPlan string
	AuditSettings, AuditUnplanned, DeadDecide, WakeRelay                                                    string

	AuditIDs        string `sql:"audit_ids"`
	AuditIDRange    string `sql:"audit_id_range"`
	AuditPlannedIDs string `sql:"audit_planned_ids"`
}

// In returns the tables of an outbox.
func In(t *table.Table) *Tables {
	q, err := text.Bind[statements](t.Schema())
	if err != nil {
		panic(err) // the table has a valid schema
	}
	return &Tables{Table: t, q: q}
}
