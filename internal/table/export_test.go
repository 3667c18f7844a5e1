package table

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"
)

// ExplainPlan runs the plan statement under EXPLAIN ANALYZE, as the session would, and rolls it back.
func (s *Session) ExplainPlan(ctx context.Context) (string, error) {
	tx, err := s.conn.Begin(ctx)
	if err != nil {
		return "", err
	}
	defer tx.Rollback(ctx) //nolint:errcheck // nothing to keep
	rows, err := tx.Query(ctx, "EXPLAIN (ANALYZE, TIMING OFF) "+s.t.q.Plan, 100, 1<<20, s.relay, s.settled, s.first)
	if err != nil {
		return "", err
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return strings.Join(lines, "\n"), err
}
