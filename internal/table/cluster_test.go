package table_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/internal/table/tabletest"
)

// A copy in another cluster does not publish until it is adopted. Then every row without a position gets one, late
// and fresh rows alike, and no row of the copy is late afterwards, although its xids are those of another cluster.
func TestAdopt(t *testing.T) {
	s := newSteps(t)
	if _, err := s.session.RecordCluster(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.begin("late", "early")
	s.insert("late", "late1")
	s.insert("early", "early1", "early2")
	s.commit("early")
	s.plan(10, "early1", "early2")
	s.commit("late") // committed but not planned when the copy is made
	s.begin("fresh")
	s.insert("fresh", "fresh1")
	s.commit("fresh")
	// This makes it a copy: the log names another cluster, and the xids are ones that this cluster has not reached.
	tabletest.InTx(t, s.pool, func(ctx context.Context, tx pgx.Tx) {
		for _, sql := range []string{
			"UPDATE outbox.cluster SET system_identifier = 42",
			"UPDATE outbox.event AS e SET xid = (SELECT min(xid)::text::bigint + 40 + e.id FROM outbox.event)::text::xid8",
		} {
			if _, err := tx.Exec(ctx, s.table.SQL(sql)); err != nil {
				t.Fatal(err)
			}
		}
	})
	if _, err := s.session.RecordCluster(t.Context()); !errors.Is(err, table.ErrMoved) {
		t.Fatalf("got %v, want ErrMoved", err)
	}
	want := table.Adopted{Planned: 2, Settled: 4}
	for _, adopt := range []func() (table.Adopted, error){
		func() (table.Adopted, error) { return s.table.TryAdopt(t.Context(), s.pool, "test") },
		func() (table.Adopted, error) { return s.table.Adopt(t.Context(), s.pool, "test") },
	} {
		if got, err := adopt(); err != nil || got != want {
			t.Fatalf("adopted %+v, %v; want %+v", got, err, want)
		}
	}
	if got, err := s.table.Adopt(t.Context(), s.pool, "test"); err != nil || got != (table.Adopted{}) {
		t.Fatalf("adopted again: %+v, %v", got, err)
	}
	if _, err := s.session.RecordCluster(t.Context()); err != nil {
		t.Fatal(err)
	}
	// While the xids of this cluster pass those of the copy, each xid belongs once to a transaction above xmax while
	// another one is planned. Every new event is planned once, and no other.
	for n := range 60 {
		name, other := fmt.Sprintf("new%d", n), fmt.Sprintf("other%d", n)
		s.begin(name, other)
		s.insert(name, name)
		s.commit(name)
		s.plan(10, name)
		s.commit(other)
	}
	loaded, err := s.table.Load(t.Context(), s.pool, 1, table.Page{Events: 100, Bytes: 1 << 20})
	if err != nil || len(loaded) != 64 || loaded[2].Subject != "late1" || loaded[3].Subject != "fresh1" || loaded[4].Subject != "new0" {
		t.Fatalf("%d loaded, %v", len(loaded), err)
	}
}

// A fail-over is recorded once, and the relay continues.
func TestFailOverIsRecorded(t *testing.T) {
	tbl, pool := tabletest.New(t)
	session := tabletest.Session(t, tbl, pool)
	first, err := session.RecordCluster(t.Context())
	if err != nil || first.FailedOver() || first.Moved() || first.Now.System == 0 || first.Now.Timeline == 0 {
		t.Fatalf("%+v, %v", first, err)
	}
	if _, err := pool.Exec(t.Context(), tbl.SQL("UPDATE outbox.cluster SET timeline = timeline + 1")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{true, false} {
		if home, err := session.RecordCluster(t.Context()); err != nil || home.FailedOver() != want {
			t.Fatalf("%+v, %v; want failed over %v", home, err, want)
		}
	}
}
