package devstack_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/sqlstate"
)

// A full tablespace fails writes to its own tables only, and accepts writes again after tables are dropped. Where
// mounting is not permitted, SmallTablespace returns ErrNoMount and leaves no folder.
func TestSmallTablespace(t *testing.T) {
	t.Parallel()
	parent := serverParent(t)
	p := devtest.OwnPostgres(t, devstack.PostgresConfig{Dir: parent})
	err := p.SmallTablespace(t.Context(), "small", 4<<20)
	if errors.Is(err, devstack.ErrNoMount) {
		if left, _ := filepath.Glob(filepath.Join(p.DataDir(), "..", "mount-*")); len(left) > 0 {
			t.Errorf("SmallTablespace returned ErrNoMount and left %v", left)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		"create table filler (v text) tablespace small",
		"create table outbox (v text) tablespace small",
		"insert into outbox values ('before')",
	} {
		must(t, execute(t, p.URL(), sql))
	}
	fill := func(sql string) {
		t.Helper()
		var failure *pgconn.PgError
		if err := execute(t, p.URL(), sql); !errors.As(err, &failure) || failure.Code != sqlstate.DiskFull {
			t.Fatalf("got error %v, want disk_full (53100)", err)
		}
	}
	fill("insert into filler select repeat('x', 1000) from generate_series(1, 10000)")
	fill("insert into outbox select repeat('x', 1000) from generate_series(1, 100)")
	if err := execute(t, p.URL(), "create table elsewhere as select 'fits' as v"); err != nil {
		t.Error(err)
	}
	must(t, p.Stop(), p.Start(t.Context()))
	fill("insert into outbox select repeat('x', 1000) from generate_series(1, 100)")
	must(t, execute(t, p.URL(), "drop table filler"))
	if err := execute(t, p.URL(), "insert into outbox select repeat('x', 1000) from generate_series(1, 100)"); err != nil {
		t.Error(err)
	}
	wantQuery(t, p.URL(), "select v from outbox limit 1", "before")
	if err := p.SmallTablespace(t.Context(), "small", 1<<20); err == nil {
		t.Error("a second SmallTablespace with the same name succeeded")
	}
	if err := p.SmallTablespace(t.Context(), "none", 0); err == nil {
		t.Error("SmallTablespace of 0 bytes succeeded")
	}
	must(t, p.Close())
	if err := empty(parent); err != nil {
		t.Error(err)
	}
}
