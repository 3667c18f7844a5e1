package relay_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// A page of what was planned before may take longer than PostgreSQL lets the session rest.
func TestReplayWaitsLongerThanTheSession(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.insertN(10)
	s, err := g.table.OpenSession(t.Context(), g.pool.Config().ConnConfig.Copy(), "before")
	must(t, err)
	if events, err := s.Plan(t.Context(), table.Page{Events: 100, Bytes: 1 << 20}); len(events) != 10 || err != nil {
		t.Fatalf("%d events planned, %v; want 10", len(events), err)
	}
	s.Close()
	tx, err := g.pool.Begin(t.Context())
	must(t, err)
	defer tx.Rollback(context.Background()) //nolint:errcheck // after the commit it has nothing to do
	_, err = tx.Exec(t.Context(), g.table.SQL("LOCK TABLE outbox.parked"))
	must(t, err)
	began := time.Now()
	run := g.start(g.config())
	devtest.Eventually(t, 30*time.Second, "a page is longer under way than a session may rest", func() error {
		var waits bool
		err := g.pool.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '-- load:%' AND $1 = ANY (pg_blocking_pids(pid))
			AND clock_timestamp() - query_start > interval '9 s')`, int32(tx.Conn().PgConn().PID())).Scan(&waits)
		if err == nil && !waits {
			err = fmt.Errorf("not after %v", time.Since(began))
		}
		return err
	})
	must(t, tx.Commit(t.Context()))
	g.drained()
	if stats := run.Stats(); stats.LastErrors != 0 || stats.Published != 10 {
		t.Errorf("%d published, %d errors, the last: %s", stats.Published, stats.LastErrors, stats.LastError)
	}
}
