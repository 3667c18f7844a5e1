package audit

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// ExplainAudit returns the plans of what an audit asks for again and again, as it asks for it.
func (t *Tables) ExplainAudit(ctx context.Context, db outbox.Beginner) (plans map[string]string, err error) {
	plans = make(map[string]string)
	one := []int64{1, 700}
	for _, q := range []struct {
		name, query string
		args        []any
	}{
		{"plan", t.q.AuditPlan, []any{one, []int64{600, 800}}}, {"absent", t.q.AuditMissing, []any{one, []int64{600, 800}}},
		{"gone", t.q.AuditDropped, []any{one}}, {"ids", t.q.AuditIDs, []any{0, 1000, 500}}, {"unplanned", t.q.AuditUnplanned, []any{one, 1.0}},
		{"orphans", t.q.AuditOrphans, []any{one, "test"}}, {"copy", t.q.AuditCopy, []any{one}},
	} {
		err := t.auditing(ctx, db, "off", "off", func(tx pgx.Tx) error {
			rows, err := tx.Query(ctx, "EXPLAIN "+q.query, q.args...)
			if err != nil {
				return err
			}
			lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
			plans[q.name] = strings.Join(lines, "\n")
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return plans, nil
}
