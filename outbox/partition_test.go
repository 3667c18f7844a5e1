package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// kept is an outbox with partitions of 1000, n events, all planned, and a clock that receipts are set back by.
type kept struct {
	t       *testing.T
	table   *outbox.Table
	pool    *pgxpool.Pool
	session *outbox.Session
}

func newKept(t *testing.T, n int) *kept {
	t.Helper()
	table, pool := newTable(t)
	devtest.SmallPartitions(t, pool, table.SQL)
	k := &kept{t: t, table: table, pool: pool, session: newSession(t, table, pool)}
	k.insert(n)
	return k
}

func (k *kept) run(query string) {
	k.t.Helper()
	run(k.t, k.pool, k.table.SQL(query))
}

func (k *kept) insert(n int) {
	k.t.Helper()
	k.run(fmt.Sprintf("INSERT INTO outbox.event (subject) SELECT 'e.' || g FROM generate_series(1, %d) g", n))
	k.plan()
}

func (k *kept) plan() {
	k.t.Helper()
	for {
		page, err := k.session.Plan(k.t.Context(), outbox.Page{Events: 500, Bytes: 1 << 20})
		if err != nil {
			k.t.Fatal(err)
		}
		if len(page) == 0 {
			return
		}
	}
}

// acked says that the stream acknowledged everything up to a position, an age ago.
func (k *kept) acked(position int, age time.Duration) {
	k.t.Helper()
	k.run(fmt.Sprintf("INSERT INTO outbox.receipt (stream, stream_created, position, sequence, acked_at) VALUES ('S', now(), %d, %[1]d, now() - interval '%d s')",
		position, int(age.Seconds())))
}

// states lists the partitions of a family as name, state and why.
func (k *kept) states(family string, want ...string) {
	k.t.Helper()
	all, err := k.table.Partitions(k.t.Context(), k.pool, time.Hour)
	if err != nil {
		k.t.Fatal(err)
	}
	var got []string
	for _, p := range all {
		if p.Family == family && p.State != outbox.PartitionAhead {
			got = append(got, strings.TrimSpace(p.Name+" "+p.State+" "+p.Why))
		}
	}
	k.t.Helper()
	expect(k.t, got, want...)
}

func (k *kept) empty(name string, want bool, cause error) {
	k.t.Helper()
	if done, err := k.table.EmptyPartition(k.t.Context(), k.pool, name, time.Hour); done != want || !errors.Is(err, cause) {
		k.t.Errorf("empty %s: %v, %v; want %v, %v", name, done, err, want, cause)
	}
}

func (k *kept) drop(name string, want bool, cause error) {
	k.t.Helper()
	if done, err := k.table.DropPartition(k.t.Context(), k.pool, name); done != want || !errors.Is(err, cause) {
		k.t.Errorf("drop %s: %v, %v; want %v, %v", name, done, err, want, cause)
	}
}

func (k *kept) count(query string, want int) {
	k.t.Helper()
	var n int
	if err := k.pool.QueryRow(k.t.Context(), k.table.SQL(query)).Scan(&n); err != nil || n != want {
		k.t.Errorf("%s: %d, %v; want %d", query, n, err, want)
	}
}

const notAcked = " waiting the stream has not acknowledged position %d"

const unsettled = " cannot confirm yet that every transaction in it is planned"

// A partition is dropped when it is full, when the stream has acknowledged all of it, when a person has decided about what was
// parked in it, and when that was long enough ago; never before.
func TestRetention(t *testing.T) {
	k := newKept(t, 2500)
	k.states("event", "event_1"+fmt.Sprintf(notAcked, 1000), "event_1001"+fmt.Sprintf(notAcked, 2000), "event_2001 open", "event_default net")
	k.acked(999, 3*time.Hour)
	k.states("event", "event_1"+fmt.Sprintf(notAcked, 1000), "event_1001"+fmt.Sprintf(notAcked, 2000), "event_2001 open", "event_default net")
	k.acked(1000, 2*time.Hour)
	k.acked(2200, time.Minute)
	k.states("event", "event_1 due", "event_1001 kept", "event_2001 open", "event_default net")
	k.empty("event_1001", false, nil)
	k.empty("event_2001", false, nil)
	k.count("SELECT count(*) FROM outbox.event", 2500)

	k.run("INSERT INTO outbox.parked (position, id, event_id, subject, reason) VALUES (7, 7, gen_random_uuid(), 'e.7', 'too_large')")
	k.states("event", "event_1 waiting 1 parked events wait for a decision; list them with: outbox dead list", "event_1001 kept", "event_2001 open", "event_default net")
	k.empty("event_1", false, nil)
	k.run("INSERT INTO outbox.decision (source, number, action) VALUES ('parked', 7, 'dropped')")

	k.empty("event_1", true, nil)
	k.count("SELECT count(*) FROM outbox.event", 1500)
	k.count("SELECT n FROM outbox.dropped WHERE from_key = 1", 1000)
	k.states("event", "event_1 emptied", "event_1001 kept", "event_2001 open", "event_default net")
	k.drop("event_1", true, nil)
	k.states("event", "event_1001 kept", "event_2001 open", "event_default net")
	if _, err := k.table.EmptyPartition(t.Context(), k.pool, "event_1", time.Hour); err == nil {
		t.Error("a partition that is gone is emptied")
	}
	if _, err := k.table.DropPartition(t.Context(), k.pool, "event_1001"); err == nil {
		t.Error("a partition that was not emptied is dropped")
	}
	k.insert(10)
	if first, err := k.table.Oldest(t.Context(), k.pool); err != nil || first > 1001 {
		t.Errorf("oldest %d, %v", first, err)
	}
}

// A transaction that has written, is not planned, or ended only after the last look holds its partition, and nobody waits for
// longer than the lock timeout.
func TestRetentionBesideTransactions(t *testing.T) {
	k := newKept(t, 900)
	inTx(t, k.pool, func(ctx context.Context, late pgx.Tx) {
		mustExec(t, late, k.table.SQL("INSERT INTO outbox.event (subject) VALUES ('late')"))
		k.run("SELECT setval('outbox.event_id_seq', 1000)")
		k.insert(1500)
		k.acked(2400, 2*time.Hour)
		k.states("event", "event_1 due", "event_1001 waiting"+unsettled, "event_2001 open", "event_default net") // the late row cannot be seen …
		k.empty("event_1", false, outbox.ErrBusy)                                                                // … but its lock
	})
	k.states("event", "event_1 waiting"+unsettled, "event_1001 waiting"+unsettled, "event_2001 open", "event_default net")
	k.plan()
	k.states("event", "event_1"+fmt.Sprintf(notAcked, 2401), "event_1001 due", "event_2001 open", "event_default net")
	k.empty("event_1", false, nil)
	k.acked(2401, 2*time.Hour)

	inTx(t, k.pool, func(ctx context.Context, reader pgx.Tx) {
		mustExec(t, reader, k.table.SQL("SELECT count(*) FROM outbox.event WHERE id > 1001")) // locks the parent and what is above
		k.empty("event_1", true, nil)
		k.drop("event_1", false, outbox.ErrBusy)
		began := time.Now()
		k.insert(1)
		if waited := time.Since(began); waited > 2*time.Second {
			t.Errorf("a writer waited %s", waited)
		}
	})
	k.drop("event_1", true, nil)
	k.count("SELECT count(*) FROM outbox.event", 1501)
}

// The plan and the receipts go when no event needs them.
func TestRetentionOfThePlan(t *testing.T) {
	k := newKept(t, 0)
	for range 5 {
		k.insert(500)
	}
	k.acked(2500, 2*time.Hour)
	k.run("UPDATE outbox.batch SET planned_at = now() - interval '2 h'")
	k.states("batch", "batch_0 kept", "batch_1000 kept", "batch_2000 open", "batch_default net")
	k.empty("event_1", true, nil)
	k.states("batch", "batch_0 due", "batch_1000 kept", "batch_2000 open", "batch_default net")
	k.empty("batch_0", true, nil)
	k.drop("batch_0", true, nil)
	page, err := k.table.Load(t.Context(), k.pool, 400, outbox.Page{Events: 10000, Bytes: 1 << 20})
	if err != nil || len(page) != 1500 || page[0].Position != 1001 {
		t.Fatalf("loaded %d events, %v", len(page), err)
	}
	k.insert(1)
	if c, err := k.table.Cursor(t.Context(), k.pool); err != nil || c.LastPosition != 2501 {
		t.Errorf("cursor %+v, %v", c, err)
	}
	k.run("INSERT INTO outbox.receipt (stream, stream_created, position, sequence, acked_at) SELECT 'S', now(), 2500, 2500, now() - interval '3 h' FROM generate_series(1, 1500)")
	k.states("receipt", "receipt_1 due", "receipt_1001 open", "receipt_default net")
	k.empty("receipt_1", true, nil)
}

// Events in the net are counted, shown, and dropped like others.
func TestRetentionOfTheNet(t *testing.T) {
	k := newKept(t, 10)
	k.run("SELECT setval('outbox.event_id_seq', 5500)")
	k.insert(20)
	if n, err := k.table.Net(t.Context(), k.pool); n != 20 || err != nil {
		t.Errorf("%d events in the net, %v; want 20", n, err)
	}
	k.run("SELECT outbox.extend(100000, 1)")
	k.run("SELECT setval('outbox.event_id_seq', (SELECT min(from_key) FROM outbox.partition WHERE family = 'event' AND from_key > 5520))")
	k.insert(1)
	k.acked(29, 2*time.Hour)
	k.acked(31, 2*time.Hour)
	k.states("event", "event_1 due", "event_1001 due", "event_2001 due", "event_3001 due", "event_4001 due", "event_default due", "event_20001 open")
	k.empty("event_default", true, nil)
	k.count("SELECT count(*) FROM outbox.event", 11)
	k.states("event", "event_1 due", "event_1001 due", "event_2001 due", "event_3001 due", "event_4001 due", "event_20001 open", "event_default net")
}

func mustExec(t *testing.T, tx pgx.Tx, query string) {
	t.Helper()
	if _, err := tx.Exec(t.Context(), query); err != nil {
		t.Fatal(err)
	}
}
