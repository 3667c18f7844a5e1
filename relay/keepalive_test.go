package relay_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/relaytest"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// Loading a page of planned events may take longer than PostgreSQL allows the session to be idle.
func TestLoadingOutlastsTheIdleTimeout(t *testing.T) {
	t.Parallel()
	g := relaytest.New(t)
	g.InsertN(10)
	s, err := g.Table.OpenSession(t.Context(), g.Pool.Config().ConnConfig.Copy(), "before")
	relaytest.Must(t, err)
	if events, err := s.Plan(t.Context(), table.Page{Events: 100, Bytes: 1 << 20}); len(events) != 10 || err != nil {
		t.Fatalf("%d events planned, %v; want 10", len(events), err)
	}
	s.Close()
	tx, err := g.Pool.Begin(t.Context())
	relaytest.Must(t, err)
	defer tx.Rollback(context.Background()) //nolint:errcheck // no effect after the commit
	_, err = tx.Exec(t.Context(), g.Table.SQL("LOCK TABLE outbox.parked"))
	relaytest.Must(t, err)
	began := time.Now()
	run := g.Start(g.Config())
	devtest.Eventually(t, 30*time.Second, "loading a page takes longer than a session may be idle", func() error {
		var waits bool
		err := g.Pool.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '-- load:%' AND $1 = ANY (pg_blocking_pids(pid))
			AND clock_timestamp() - query_start > interval '9 s')`, int32(tx.Conn().PgConn().PID())).Scan(&waits)
		if err == nil && !waits {
			err = fmt.Errorf("not after %v", time.Since(began))
		}
		return err
	})
	relaytest.Must(t, tx.Commit(t.Context()))
	g.Drained()
	if stats := run.Stats(); stats.LastErrors != 0 || stats.Published != 10 {
		t.Errorf("%d published, %d errors, the last: %s", stats.Published, stats.LastErrors, stats.LastError)
	}
}
