package roles_test

import (
	"testing"

	"github.com/seed-6eff6314/outbox-relay/internal/jobs"
	"github.com/seed-6eff6314/outbox-relay/internal/sqlstate"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/internal/table/tabletest"
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// The owner may run a replay, the auditor may preview and list it, and the other roles may not start one.
func TestJobRoles(t *testing.T) {
	e := newEstate(t)
	tabletest.Run(t, e.pool, e.table.SQL("INSERT INTO outbox.event (subject) SELECT 'r.' || g FROM generate_series(1, 3) g"))
	if _, err := tabletest.Session(t, e.table, e.pool).Plan(t.Context(), table.Page{Events: 10, Bytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	owner, auditor := e.login(t, "owner", "owner"), e.login(t, "auditor", "auditor")
	for name, pool := range map[string]outbox.DB{"auditor": auditor, "writer": e.login(t, "writer", "writer")} {
		_, err := jobs.In(e.table).StartReplay(t.Context(), pool, &jobs.ReplayQuery{})
		if !sqlstate.Is(err, sqlstate.InsufficientPrivilege) {
			t.Errorf("%s starts a replay: %v, want insufficient_privilege", name, err)
		}
	}
	conn, err := owner.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	job, err := jobs.In(e.table).StartReplay(t.Context(), conn, &jobs.ReplayQuery{})
	if err != nil {
		t.Fatal(err)
	}
	if err := jobs.In(e.table).Announce(t.Context(), conn, job); err != nil {
		t.Fatal(err)
	}
	if err := jobs.In(e.table).ReplayStep(t.Context(), conn, job, 2); err != nil || job.Last.Events != 2 {
		t.Fatalf("%+v, %v", job.Last, err)
	}
	list, err := jobs.In(e.table).Jobs(t.Context(), auditor, 10)
	if err != nil || len(list) != 1 || !list[0].Running || list[0].Last.Events != 2 || list[0].StartedBy != e.roles.Prefix+"_owner_login" {
		t.Errorf("the auditor sees %+v, %v", list, err)
	}
	look, err := jobs.In(e.table).PreviewReplay(t.Context(), auditor, &jobs.ReplayQuery{}, func(int64, int64, int64) {})
	if err != nil || look.Matched != 3 {
		t.Errorf("the auditor's look: %+v, %v", look, err)
	}
	e.refused(t, auditor, "INSERT INTO outbox.step (job, n, cursor, scanned, events, done) VALUES (gen_random_uuid(), 1, 'null', 0, 0, true)", "DELETE FROM outbox.job")
}
