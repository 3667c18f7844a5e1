package roles_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/seed-6eff6314/outbox-relay/internal/jobs"
	"github.com/seed-6eff6314/outbox-relay/internal/sqlstate"
	"github.com/seed-6eff6314/outbox-relay/internal/table/tabletest"
)

// A backfill runs with the rights of the role that starts it: those of outbox_owner, and for the table the least that
// locking takes. Row-level security that would hide rows is an error.
func TestRightsOfABackfill(t *testing.T) {
	e, owner, _, goods := market(t)
	tabletest.Run(t, e.pool, "INSERT INTO "+goods+" VALUES (1, 'a'), (2, 'b')")
	session := tabletest.Session(t, e.table, e.pool)
	tabletest.Captured(t, session)
	refused := func(who string, want, hint string) {
		t.Helper()
		pool := owner
		if who != "owner" {
			pool = e.login(t, who, who)
		}
		_, err := jobs.In(e.table).StartBackfill(t.Context(), pool, &jobs.BackfillQuery{Table: goods})
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Code != sqlstate.InsufficientPrivilege || !strings.Contains(pg.Message, want) || !strings.Contains(pg.Hint, hint) {
			t.Errorf("as %s: %v, want %q with the hint %q", who, err, want, hint)
		}
	}
	for _, who := range []string{"writer", "relay", "auditor"} {
		refused(who, "permission denied", "")
	}
	group := e.group("owner")
	tabletest.Run(t, e.pool, fmt.Sprintf("GRANT SELECT ON %s TO %q", goods, group))
	refused("owner", "may not lock rows of "+goods, "GRANT SELECT, UPDATE (column) ON "+goods+" TO ")
	tabletest.Run(t, e.pool, fmt.Sprintf("GRANT UPDATE (id) ON %s TO %q", goods, group))
	job, err := jobs.In(e.table).StartBackfill(t.Context(), owner, &jobs.BackfillQuery{Table: goods})
	if err != nil {
		t.Fatal(err)
	}
	for !job.Last.Done {
		if err := jobs.In(e.table).BackfillStep(t.Context(), owner, job, 10, false); err != nil {
			t.Fatal(err)
		}
	}
	if job.Last.Events != 2 {
		t.Errorf("%+v", job.Last)
	}
	tabletest.Expect(t, tabletest.Captured(t, session), `goods.1.updated 1 update {"id": 1, "name": "a"}`, `goods.2.updated 2 update {"id": 2, "name": "b"}`)
	tabletest.Run(t, e.pool, "ALTER TABLE "+goods+" ENABLE ROW LEVEL SECURITY", "CREATE POLICY own ON "+goods+" USING (id = 1)")
	refused("owner", "row-level security", "")
	tabletest.Run(t, e.pool, "ALTER TABLE "+goods+" DISABLE ROW LEVEL SECURITY")
}
