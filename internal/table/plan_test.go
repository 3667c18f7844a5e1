package table_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/internal/table/tabletest"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// steps drives named transactions by hand. The subject of each event is its name.
type steps struct {
	t       *testing.T
	table   *table.Table
	pool    *pgxpool.Pool
	session *table.Session
	tx      map[string]pgx.Tx
}

func newSteps(t *testing.T) *steps {
	tbl, pool := tabletest.New(t)
	s := &steps{t: t, table: tbl, pool: pool, session: tabletest.Session(t, tbl, pool), tx: make(map[string]pgx.Tx)}
	t.Cleanup(func() {
		for _, tx := range s.tx {
			_ = tx.Rollback(context.Background())
		}
	})
	return s
}

// begin opens a transaction that owns an xid from the start.
func (s *steps) begin(names ...string) {
	s.t.Helper()
	for _, name := range names {
		conn, err := pgx.ConnectConfig(s.t.Context(), s.pool.Config().ConnConfig.Copy())
		if err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(func() { _ = conn.Close(context.Background()) })
		if s.tx[name], err = conn.Begin(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
		if _, err := s.tx[name].Exec(s.t.Context(), "SELECT pg_current_xact_id()"); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *steps) insert(name string, subjects ...string) {
	s.t.Helper()
	for _, subject := range subjects {
		if _, err := s.table.Insert(s.t.Context(), s.tx[name], event.Event{Subject: subject}); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *steps) commit(name string) {
	s.t.Helper()
	if err := s.tx[name].Commit(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

// plan plans one page and compares its subjects with want.
func (s *steps) plan(events int, want ...string) {
	s.t.Helper()
	planned, err := s.session.Plan(s.t.Context(), table.Page{Events: events, Bytes: 1 << 20})
	if err != nil {
		s.t.Fatal(err)
	}
	var got []string
	for _, p := range planned {
		got = append(got, p.Subject)
	}
	if !slices.Equal(got, want) {
		s.t.Fatalf("planned %q, want %q", got, want)
	}
}

// A transaction that began after the last completed one is not in xip, which ends at that one.
func TestPlanFindsLateRowsAboveXmax(t *testing.T) {
	s := newSteps(t)
	s.begin("a", "b")
	s.insert("b", "b1")
	s.insert("a", "a1")
	s.commit("a")
	s.plan(10, "a1") // head is a1, and b is above xmax
	s.commit("b")
	s.plan(10, "b1")
	s.plan(10)
}

func TestPlanFindsLateRowsInXip(t *testing.T) {
	s := newSteps(t)
	s.begin("a", "b")
	s.insert("a", "a1")
	s.insert("b", "b1")
	s.commit("b")
	s.plan(10, "b1") // a is running, and b completed above it
	s.insert("a", "a2")
	s.begin("c")
	s.insert("c", "c1")
	s.commit("c")
	s.plan(10, "c1")
	s.commit("a")
	s.plan(10, "a1", "a2")
	s.plan(10)
}

// The rows of a transaction are late however long it runs and however many batches are planned meanwhile.
func TestPlanFindsLateRowsOfLongAgo(t *testing.T) {
	s := newSteps(t)
	s.begin("a", "b")
	s.insert("a", "a1")
	s.begin("c")
	s.insert("c", "c0")
	s.commit("c")
	s.plan(10, "c0")
	s.insert("b", "b1") // its xid is newer than that of the batch
	for i := range 20 {
		name := fmt.Sprint("d", i)
		s.begin(name)
		s.insert(name, name)
		s.commit(name)
		s.plan(10, name)
	}
	s.commit("b")
	s.plan(10, "b1")
	s.commit("a")
	s.plan(10, "a1")
	s.plan(10)
}

// The plan does not read partitions in which every event has its position.
func TestPlanLeavesOldPartitionsAlone(t *testing.T) {
	k := &kept{tabletest.NewOutbox(t, 10_000)} // in ten partitions
	for range 5 {
		k.Insert(1)
	}
	plan, err := k.Session.ExplainPlan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(plan, " event_1001_") || strings.Contains(plan, " event_8001_") {
		t.Errorf("old partitions are looked at:\n%s", plan)
	}
}

// While the late rows of one snapshot are planned page by page, other transactions end. Their rows are planned after
// that set, whether the older snapshot had them in xip (c) or above xmax (d).
func TestPlanPagesLateRows(t *testing.T) {
	s := newSteps(t)
	s.begin("c", "a", "x", "b", "d")
	s.insert("a", "a1", "a2", "a3", "a4", "a5")
	s.insert("c", "c1")
	s.insert("d", "d1")
	s.insert("x", "x1")
	s.commit("x") // once x has completed, a and c are in xip, and b and d above xmax
	s.plan(10, "x1")
	s.insert("b", "b1")
	s.commit("a")
	s.plan(2, "a1", "a2") // the first page of the rows of a
	s.commit("c")
	s.commit("d")
	s.commit("b")
	s.plan(2, "a3", "a4")
	s.plan(2, "a5")
	s.plan(10, "c1", "d1", "b1")
	s.plan(10)
}

func TestPlanStopsAtBytes(t *testing.T) {
	tbl, pool := tabletest.New(t)
	session := tabletest.Session(t, tbl, pool)
	events := make([]event.Event, 5)
	for i := range events {
		events[i] = event.Event{Subject: fmt.Sprintf("e.%d", i), Payload: make([]byte, 1000)}
	}
	if _, err := tbl.InsertAndCommit(t.Context(), pool, events...); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{2, 2, 1, 0} {
		planned, err := session.Plan(t.Context(), table.Page{Events: 100, Bytes: 1500})
		if err != nil {
			t.Fatal(err)
		}
		if len(planned) != want {
			t.Fatalf("planned %d events, want %d", len(planned), want)
		}
	}
	page, err := tbl.Load(t.Context(), pool, 2, table.Page{Events: 100, Bytes: 1500})
	if err != nil || len(page) != 2 || page[0].Position != 2 {
		t.Fatalf("loaded %v, %v; want positions 2 and 3", page, err)
	}
}

// The primary key of the plan lets one of two planners win.
func TestTwoPlannersOneWins(t *testing.T) {
	tbl, pool := tabletest.New(t)
	const planners, events = 4, 400
	type result struct {
		planned []table.Planned
		lost    int
		err     error
	}
	results := make(chan result)
	for i := range planners {
		session := tabletest.Session(t, tbl, pool)
		go func() {
			var r result
			for r.err == nil && len(r.planned) < events {
				var page []table.Planned
				page, r.err = session.Plan(t.Context(), table.Page{Events: 1 + i, Bytes: 1 << 20})
				if errors.Is(r.err, table.ErrPlanned) {
					r.lost++
					r.err = nil
				}
				r.planned = append(r.planned, page...)
				if c, err := tbl.Cursor(t.Context(), pool); err != nil || c.LastPosition == events {
					break
				}
			}
			results <- r
		}()
	}
	for i := range events {
		if _, err := tbl.InsertAndCommit(t.Context(), pool, event.Event{Subject: fmt.Sprintf("e.%d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	seen := make(map[int64]bool)
	lost := 0
	for range planners {
		r := <-results
		if r.err != nil {
			t.Fatal(r.err)
		}
		lost += r.lost
		for _, p := range r.planned {
			if seen[p.Position] {
				t.Fatalf("position %d given twice", p.Position)
			}
			seen[p.Position] = true
		}
	}
	if len(seen) != events {
		t.Fatalf("%d positions given, want %d", len(seen), events)
	}
	t.Logf("%d plans lost the race", lost)
}

// With the settings of the session, the statement uses its indexes on tables that were never analyzed and have many
// partitions: EXPLAIN shows an index for each node that reads the event table.
func TestPlanKeepsToItsIndexes(t *testing.T) {
	tbl, pool := tabletest.New(t)
	if _, err := pool.Exec(t.Context(), tbl.SQL("SELECT outbox.extend(1000, 30)")); err != nil {
		t.Fatal(err)
	}
	session := tabletest.Session(t, tbl, pool)
	_, err := pool.Exec(t.Context(), tbl.SQL(`INSERT INTO outbox.event (subject, payload)
		SELECT 'e.' || g, convert_to(repeat('x', 100), 'UTF8') FROM generate_series(1, 20000) g`))
	if err != nil {
		t.Fatal(err)
	}
	plan, err := session.ExplainPlan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(plan) {
		if strings.Contains(line, "Seq Scan") || strings.Contains(line, "Bitmap") || strings.Contains(line, "JIT") {
			t.Errorf("plan has %q", strings.TrimSpace(line))
		}
	}
	for _, need := range []string{"Index Scan Backward using batch_0_pkey", "(xid = x.x) AND (id >", "(xid >= pg_snapshot_xmax("} {
		if !strings.Contains(plan, need) {
			t.Errorf("plan lacks %q", need)
		}
	}
	if t.Failed() {
		t.Log(plan)
	}
}

// The protocol relies on the order of the columns and on a sequence without a cache.
func TestColumnOrder(t *testing.T) {
	tbl, pool := tabletest.New(t)
	var xid, id, cache int
	err := pool.QueryRow(t.Context(), tbl.SQL(`
		SELECT (SELECT attnum FROM pg_attribute WHERE attrelid = 'outbox.event'::regclass AND attname = 'xid'),
		       (SELECT attnum FROM pg_attribute WHERE attrelid = 'outbox.event'::regclass AND attname = 'id'),
		       (SELECT seqcache FROM pg_sequence WHERE seqrelid = pg_get_serial_sequence('outbox.event', 'id')::regclass)`)).
		Scan(&xid, &id, &cache)
	if err != nil {
		t.Fatal(err)
	}
	if xid >= id || cache != 1 {
		t.Fatalf("xid is column %d, id column %d, cache %d: want xid before id and cache 1", xid, id, cache)
	}
}
