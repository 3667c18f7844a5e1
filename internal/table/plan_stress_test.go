package table_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/internal/table/tabletest"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// Puts the cursor under stress: 40 writers on 64 keys stall between insert and commit, roll back, roll back to
// savepoints, prepare, and insert more rows than a page holds, beside transactions that stay open throughout in this
// database and in another. Every writer increments the version of its key under the row lock and then inserts the
// event. So the versions of a key in position order must be 1, 2, 3 … without a gap, which a lost event, one planned
// twice and two in the wrong order would break.
func TestPlanUnderStress(t *testing.T) {
	t.Parallel()
	const (
		writers   = 40
		perWriter = 40
		keys      = 64
	)
	tbl, pool := tabletest.New(t)
	w := newWorkload(t, tbl, pool, keys)

	long := w.openLong(t)
	stop := make(chan struct{})
	var seen log
	planner := new(errgroup.Group)
	planner.Go(func() error { return planUntil(t, tabletest.Session(t, tbl, pool), stop, &seen) })

	var group errgroup.Group
	for i := range writers {
		rng := rand.New(rand.NewPCG(uint64(i), 7))
		group.Go(func() error { return w.write(t.Context(), rng, perWriter) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	// Nothing waits for the long transactions: all other rows are planned while they are open.
	devtest.Eventually(t, 20*time.Second, "all but the open transactions planned", func() error {
		return want(seen.len(), int(w.committed.Load()))
	})
	long(t)
	devtest.Eventually(t, 20*time.Second, "the rows of the long transaction planned", func() error {
		return want(seen.len(), int(w.committed.Load()))
	})
	close(stop)
	if err := planner.Wait(); err != nil {
		t.Fatal(err)
	}
	verify(t, tbl, pool, seen.events)
	t.Logf("%d committed events, %d rolled back, each planned once and in order", w.committed.Load(), w.rolledBack.Load())
}

// log is what was planned, in order. It has a mutex because the test reads while the planner appends.
type log struct {
	mu     sync.Mutex
	events []table.Planned
}

func (l *log) add(p []table.Planned) { l.mu.Lock(); l.events = append(l.events, p...); l.mu.Unlock() }
func (l *log) len() int              { l.mu.Lock(); defer l.mu.Unlock(); return len(l.events) }

// planUntil plans in small pages, so that late rows take several, until stop is closed and no row is left.
func planUntil(t *testing.T, s *table.Session, stop <-chan struct{}, seen *log) error {
	rng := rand.New(rand.NewPCG(1, 1))
	for {
		stopped := isClosed(stop)
		events, err := s.Plan(t.Context(), table.Page{Events: 1 + rng.IntN(50), Bytes: 1 << 20})
		if err != nil {
			return err
		}
		seen.add(events)
		if stopped && len(events) == 0 {
			return nil
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func want(got, want int) error {
	if got != want {
		return fmt.Errorf("got %d, want %d", got, want)
	}
	return nil
}

// verify checks that positions have no gap, that the plan has each event of the table once, and that the versions of
// each key are in order and without a gap.
func verify(t *testing.T, tbl *table.Table, pool *pgxpool.Pool, planned []table.Planned) {
	t.Helper()
	version := make(map[string]int)
	ids := make(map[string]bool)
	for i, p := range planned {
		if p.Position != int64(i+1) {
			t.Fatalf("position %d where %d belongs", p.Position, i+1)
		}
		if ids[p.ID.String()] {
			t.Fatalf("event %s is planned twice", p.ID)
		}
		ids[p.ID.String()] = true
		version[p.Key]++
		if got := string(p.Payload); got != fmt.Sprint(version[p.Key]) {
			t.Fatalf("key %s: version %s at position %d where %d belongs", p.Key, got, p.Position, version[p.Key])
		}
	}
	var rows int
	if err := pool.QueryRow(t.Context(), tbl.SQL("SELECT count(*) FROM outbox.event")).Scan(&rows); err != nil {
		t.Fatal(err)
	}
	if rows != len(planned) {
		t.Fatalf("%d rows in the table, %d in the plan", rows, len(planned))
	}
	// Load returns the plan as Plan returned it.
	for from := int64(1); from <= int64(len(planned)); {
		page, err := tbl.Load(t.Context(), pool, from, table.Page{Events: 97, Bytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			t.Fatalf("nothing loaded from position %d of %d", from, len(planned))
		}
		for _, p := range page {
			if w := planned[from-1]; p.Position != from || p.ID != w.ID {
				t.Fatalf("loaded position %d event %s, planned %d %s", p.Position, p.ID, from, w.ID)
			}
			from++
		}
	}
}

type workload struct {
	table                 *table.Table
	pool                  *pgxpool.Pool
	other                 string // a second database
	keys                  int
	committed, rolledBack atomic.Int64
	gid                   atomic.Int64
}

func newWorkload(t *testing.T, tbl *table.Table, pool *pgxpool.Pool, keys int) *workload {
	config := pool.Config()
	config.MaxConns = 64 // one connection per writer
	wide, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(wide.Close)
	w := &workload{table: tbl, pool: wide, keys: keys}
	w.exec(t, "CREATE TABLE outbox.account (key int PRIMARY KEY, version int NOT NULL DEFAULT 0)")
	w.exec(t, fmt.Sprintf("INSERT INTO outbox.account SELECT generate_series(-1, %d)", keys-1))
	w.other = "other_" + strings.ToLower(tbl.Schema())
	w.exec(t, "CREATE DATABASE "+w.other)
	t.Cleanup(func() {
		_, err := pool.Exec(context.Background(), "DROP DATABASE "+w.other+" WITH (FORCE)")
		if err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *workload) exec(t *testing.T, sql string) {
	t.Helper()
	if _, err := w.pool.Exec(t.Context(), w.table.SQL(sql)); err != nil {
		t.Fatal(err)
	}
}

// openLong opens a transaction with an event in this database, one with an xid in another database, and one with only a
// snapshot. It returns a function that ends them.
func (w *workload) openLong(t *testing.T) (end func(*testing.T)) {
	tx, err := w.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) }) // in case the test fails before
	if _, err := w.change(t.Context(), tx, -1); err != nil {
		t.Fatal(err)
	}
	otherURL := w.pool.Config().ConnConfig.Copy()
	otherURL.Database = w.other
	other, err := pgx.ConnectConfig(t.Context(), otherURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close(context.Background()) })
	if _, err := other.Exec(t.Context(), "BEGIN ISOLATION LEVEL REPEATABLE READ; CREATE TABLE held (i int); SELECT count(*) FROM held"); err != nil {
		t.Fatal(err)
	}
	return func(t *testing.T) {
		if _, err := other.Exec(t.Context(), "ROLLBACK"); err != nil {
			t.Error(err)
		}
		if err := other.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := tx.Commit(t.Context()); err != nil {
			t.Error(err)
		}
		w.committed.Add(1)
	}
}

// change increments the version of a key, and inserts its event after that.
func (w *workload) change(ctx context.Context, tx pgx.Tx, key int) (int, error) {
	var version int
	err := tx.QueryRow(ctx, w.table.SQL("UPDATE outbox.account SET version = version + 1 WHERE key = $1 RETURNING version"), key).Scan(&version)
	if err != nil {
		return 0, err
	}
	_, err = w.table.Insert(ctx, tx, event.Event{
		Subject: fmt.Sprintf("account.%d.changed", key), Key: fmt.Sprint(key), Payload: fmt.Append(nil, version),
	})
	return version, err
}

var errRollback = errors.New("rolled back on purpose")

func (w *workload) write(ctx context.Context, rng *rand.Rand, n int) error {
	for range n {
		events, err := w.transaction(ctx, rng)
		switch {
		case errors.Is(err, errRollback):
			w.rolledBack.Add(int64(events))
		case err != nil:
			return err
		default:
			w.committed.Add(int64(events))
		}
	}
	return nil
}

// transaction runs one transaction. It locks keys in ascending order, so that writers do not deadlock.
func (w *workload) transaction(ctx context.Context, rng *rand.Rand) (events int, err error) {
	conn, err := w.pool.Acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Release()
	tx, err := conn.Begin(ctx)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // does nothing after a commit
	key := rng.IntN(w.keys)
	repeat := 1 + rng.IntN(3)
	if rng.IntN(40) == 0 {
		repeat = 150 // more than a page
	}
	for range repeat {
		if rng.IntN(6) == 0 { // a change that is rolled back to a savepoint
			sub, err := tx.Begin(ctx)
			if err != nil {
				return events, err
			}
			if _, err := w.change(ctx, sub, key); err != nil {
				return events, err
			}
			if err := sub.Rollback(ctx); err != nil {
				return events, err
			}
		}
		if _, err := w.change(ctx, tx, key); err != nil {
			return events, err
		}
		events++
		if rng.IntN(4) == 0 {
			key = min(key+rng.IntN(3), w.keys-1)
		}
	}
	if rng.IntN(3) == 0 { // a stall between insert and commit
		if _, err := tx.Exec(ctx, "SELECT pg_sleep($1)", rng.Float64()*0.03); err != nil {
			return events, err
		}
	}
	switch rng.IntN(10) {
	case 0, 1:
		return events, errRollback
	case 2:
		return events, w.prepare(ctx, tx)
	default:
		return events, tx.Commit(ctx)
	}
}

// prepare ends a transaction in two phases.
func (w *workload) prepare(ctx context.Context, tx pgx.Tx) error {
	gid := fmt.Sprintf("%s-%d", w.table.Schema(), w.gid.Add(1))
	if _, err := tx.Exec(ctx, fmt.Sprintf("PREPARE TRANSACTION '%s'", gid)); err != nil {
		return err
	}
	conn := tx.Conn()
	if _, err := conn.Exec(ctx, "SELECT pg_sleep(0.01)"); err != nil {
		return err
	}
	_, err := conn.Exec(ctx, fmt.Sprintf("COMMIT PREPARED '%s'", gid))
	return err
}
