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

// A full tablespace stops what is in it and nothing else, and recovers. Who may not
// mount is told so, and nothing is left of the attempt.
func TestSmallTablespace(t *testing.T) {
	t.Parallel()
	parent := serverParent(t)
	p := devtest.OwnPostgres(t, devstack.PostgresConfig{Dir: parent})
	err := p.SmallTablespace(t.Context(), "small", 4<<20)
	if errors.Is(err, devstack.ErrNoMount) {
		if left, _ := filepath.Glob(filepath.Join(p.DataDir(), "..", "mount-*")); len(left) > 0 {
			t.Errorf("left: %v", left)
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
		if err := execute(t, p.URL(), sql); err != nil {
			t.Fatal(err)
		}
	}
	fill := func(sql string) {
		t.Helper()
		var failure *pgconn.PgError
		if err := execute(t, p.URL(), sql); !errors.As(err, &failure) || failure.Code != sqlstate.DiskFull {
			t.Fatalf("want disk_full, got %v", err)
		}
	}
	fill("insert into filler select repeat('x', 1000) from generate_series(1, 10000)")
	fill("insert into outbox select repeat('x', 1000) from generate_series(1, 100)")
	if err := execute(t, p.URL(), "create table elsewhere as select 'fits' as v"); err != nil {
		t.Error(err)
	}
	if err := errors.Join(p.Stop(), p.Start(t.Context())); err != nil {
		t.Fatal(err)
	}
	fill("insert into outbox select repeat('x', 1000) from generate_series(1, 100)")
	if err := execute(t, p.URL(), "drop table filler"); err != nil {
		t.Fatal(err)
	}
	if err := execute(t, p.URL(), "insert into outbox select repeat('x', 1000) from generate_series(1, 100)"); err != nil {
		t.Error(err)
	}
	wantQuery(t, p.URL(), "select v from outbox limit 1", "before")
	if err := p.SmallTablespace(t.Context(), "small", 1<<20); err == nil {
		t.Error("two tablespaces of a name")
	}
	if err := p.SmallTablespace(t.Context(), "none", 0); err == nil {
		t.Error("a tablespace without a limit")
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := empty(parent); err != nil {
		t.Error(err)
	}
}
