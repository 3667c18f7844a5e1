// Package tabletest gives tests an outbox of their own, on the server of package devtest.
package tabletest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// New returns a migrated outbox in a schema of the test's own.
func New(t testing.TB) (*table.Table, *pgxpool.Pool) {
	t.Helper()
	pool := devtest.Pool(t)
	tbl, err := table.In(devtest.Schema(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tbl.Migrate(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	return tbl, pool
}

// Session opens a session that ends with the test.
func Session(t testing.TB, tbl *table.Table, pool *pgxpool.Pool) *table.Session {
	t.Helper()
	s, err := tbl.OpenSession(t.Context(), pool.Config().ConnConfig.Copy(), t.Name())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// InTx runs f in a transaction and commits it.
func InTx(t testing.TB, pool *pgxpool.Pool, f func(ctx context.Context, tx pgx.Tx)) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		f(t.Context(), tx)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Run executes statements one after the other.
func Run(t testing.TB, pool *pgxpool.Pool, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := pool.Exec(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// Captured plans what the outbox has and returns it, in order, as "subject key op payload".
func Captured(t testing.TB, s *table.Session) (out []string) {
	t.Helper()
	events, err := s.Plan(t.Context(), table.Page{Events: 1000, Bytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", e.Subject, e.Key, e.Headers[event.HeaderOp], e.Payload)))
	}
	return out
}

// Shop is a table to attach to, in the test's schema, with the odd things that real tables have: a quoted name,
// columns called like aliases, a type without equality.
func Shop(t *testing.T) (*table.Table, *pgxpool.Pool, string) {
	t.Helper()
	tbl, pool := New(t)
	own := "shop_" + tbl.Schema()
	if _, err := pool.Exec(t.Context(), fmt.Sprintf(`CREATE SCHEMA %s; CREATE TABLE %s."User s" (id int PRIMARY KEY, "e mail" text, n int DEFAULT 0, o json DEFAULT '{}')`, own, own)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := pool.Exec(context.Background(), "DROP SCHEMA "+own+" CASCADE"); err != nil {
			t.Error(err)
		}
	})
	return tbl, pool, own + `."User s"`
}

// Expect fails the test unless got is want.
func Expect(t testing.TB, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Outbox is an outbox with small partitions, and a session to plan with.
type Outbox struct {
	T       *testing.T
	Table   *table.Table
	Pool    *pgxpool.Pool
	Session *table.Session
}

// NewOutbox returns an outbox with partitions of 1000 rows and n events, all of them planned.
func NewOutbox(t *testing.T, n int) *Outbox {
	t.Helper()
	tbl, pool := New(t)
	devtest.SmallPartitions(t, pool, tbl.SQL)
	o := &Outbox{T: t, Table: tbl, Pool: pool, Session: Session(t, tbl, pool)}
	o.Insert(n)
	return o
}

// Run executes a statement that names the default schema.
func (o *Outbox) Run(query string) {
	o.T.Helper()
	Run(o.T, o.Pool, o.Table.SQL(query))
}

// Insert inserts n events and plans them.
func (o *Outbox) Insert(n int) {
	o.T.Helper()
	o.Run(fmt.Sprintf("INSERT INTO outbox.event (subject) SELECT 'e.' || g FROM generate_series(1, %d) g", n))
	o.Plan()
}

// Plan plans everything.
func (o *Outbox) Plan() {
	o.T.Helper()
	for {
		page, err := o.Session.Plan(o.T.Context(), table.Page{Events: 500, Bytes: 1 << 20})
		if err != nil {
			o.T.Fatal(err)
		}
		if len(page) == 0 {
			return
		}
	}
}

// Acked records that the stream S acknowledged everything up to a position, an age ago.
func (o *Outbox) Acked(position int, age time.Duration) {
	o.T.Helper()
	o.Run(fmt.Sprintf("INSERT INTO outbox.receipt (stream, stream_created, position, sequence, acked_at) VALUES ('S', now(), %d, %[1]d, now() - interval '%d s')",
		position, int(age.Seconds())))
}

// Count fails the test unless a query that names the default schema returns want.
func (o *Outbox) Count(query string, want int) {
	o.T.Helper()
	var n int
	if err := o.Pool.QueryRow(o.T.Context(), o.Table.SQL(query)).Scan(&n); err != nil || n != want {
		o.T.Errorf("%s: %d, %v; want %d", query, n, err, want)
	}
}
