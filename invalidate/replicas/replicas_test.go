package replicas_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/invalidate/replicas"
)

// A moment has passed when the standby has replayed what was committed before, and not earlier.
func TestPassed(t *testing.T) {
	t.Parallel()
	primary := devtest.OwnPostgres(t, devstack.PostgresConfig{})
	standby := devtest.OwnStandby(t, primary)
	conn, err := pgx.Connect(t.Context(), primary.URL())
	fatal(t, err)
	defer conn.Close(t.Context())
	replica, err := pgx.Connect(t.Context(), standby.URL())
	fatal(t, err)
	defer replica.Close(t.Context())
	var name string
	fatal(t, conn.QueryRow(t.Context(), "SELECT application_name FROM pg_stat_replication").Scan(&name))
	exec := func(c *pgx.Conn, sql string) {
		t.Helper()
		_, err := c.Exec(t.Context(), sql)
		fatal(t, err)
	}
	passes := func(r *replicas.Watch, moment time.Time) func() error {
		return func() error {
			fatal(t, r.Poll(t.Context()))
			since, ok := r.Passed(moment)
			if !ok || since.Before(moment) {
				return fmt.Errorf("passed %v since %s", ok, since)
			}
			return nil
		}
	}
	r, missing := replicas.New(conn, name), replicas.New(conn, name, "missing")
	devtest.Eventually(t, time.Minute, "idle", passes(r, time.Now()))

	exec(replica, "SELECT pg_wal_replay_pause()")
	exec(conn, "CREATE TABLE t (n int)")
	moment := time.Now()
	for range 5 {
		fatal(t, r.Poll(t.Context()))
		if _, ok := r.Passed(moment); ok {
			t.Fatal("passed while the standby is paused")
		}
	}
	resumed := time.Now()
	exec(replica, "SELECT pg_wal_replay_resume()")
	devtest.Eventually(t, time.Minute, "passed", passes(r, moment))
	if since, _ := r.Passed(moment); since.Before(resumed) {
		t.Errorf("passed since %s, resumed at %s", since, resumed)
	}
	if _, err := replica.Exec(t.Context(), "SELECT n FROM t"); err != nil {
		t.Errorf("the standby does not have it: %v", err)
	}
	fatal(t, missing.Poll(t.Context()))
	if _, ok := missing.Passed(moment); ok {
		t.Error("passed without one of the replicas")
	}
	if _, ok := missing.Passed(time.Now().Add(-time.Minute)); !ok || missing.Capped() != 1 {
		t.Errorf("waits longer than 30 s, capped %d", missing.Capped())
	}
	exec(conn, "CREATE ROLE blind LOGIN; SET ROLE blind")
	if err := r.Poll(t.Context()); !errors.Is(err, replicas.ErrHidden) {
		t.Errorf("a role without rights: %v", err)
	}
}

func fatal(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
