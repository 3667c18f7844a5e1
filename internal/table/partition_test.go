package table_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/internal/table/tabletest"
)

// kept is an outbox with small partitions whose receipts can be older than the retention.
type kept struct{ *tabletest.Outbox }

// states compares the partitions of a family, as name, state and reason, with want.
func (k *kept) states(family string, want ...string) {
	k.T.Helper()
	all, err := k.Table.Partitions(k.T.Context(), k.Pool, time.Hour)
	if err != nil {
		k.T.Fatal(err)
	}
	var got []string
	for _, p := range all {
		if p.Family == family && p.State != table.PartitionAhead {
			got = append(got, strings.TrimSpace(p.Name+" "+p.State+" "+p.Reason))
		}
	}
	k.T.Helper()
	tabletest.Expect(k.T, got, want...)
}

func (k *kept) empty(name string, want bool, cause error) {
	k.T.Helper()
	if done, err := k.Table.EmptyPartition(k.T.Context(), k.Pool, name, time.Hour); done != want || !errors.Is(err, cause) {
		k.T.Errorf("empty %s: %v, %v; want %v, %v", name, done, err, want, cause)
	}
}

func (k *kept) drop(name string, want bool, cause error) {
	k.T.Helper()
	if done, err := k.Table.DropPartition(k.T.Context(), k.Pool, name); done != want || !errors.Is(err, cause) {
		k.T.Errorf("drop %s: %v, %v; want %v, %v", name, done, err, want, cause)
	}
}

const notAcked = " waiting the stream has not acknowledged position %d"

const unsettled = " cannot confirm yet that every transaction in it is planned"

// A partition is dropped only if it is full, the stream has acknowledged all of it, a person has decided about its
// parked events, and all of that was longer ago than the retention.
func TestRetention(t *testing.T) {
	k := &kept{tabletest.NewOutbox(t, 2500)}
	k.states("event", "event_1"+fmt.Sprintf(notAcked, 1000), "event_1001"+fmt.Sprintf(notAcked, 2000), "event_2001 open", "event_default default")
	k.Acked(999, 3*time.Hour)
	k.states("event", "event_1"+fmt.Sprintf(notAcked, 1000), "event_1001"+fmt.Sprintf(notAcked, 2000), "event_2001 open", "event_default default")
	k.Acked(1000, 2*time.Hour)
	k.Acked(2200, time.Minute)
	k.states("event", "event_1 due", "event_1001 kept", "event_2001 open", "event_default default")
	k.empty("event_1001", false, nil)
	k.empty("event_2001", false, nil)
	k.Count("SELECT count(*) FROM outbox.event", 2500)

	k.Run("INSERT INTO outbox.parked (position, id, event_id, subject, reason) VALUES (7, 7, gen_random_uuid(), 'e.7', 'too_large')")
	k.states("event", "event_1 waiting 1 parked events wait for a decision; list them with: outbox dead list", "event_1001 kept", "event_2001 open", "event_default default")
	k.empty("event_1", false, nil)
	k.Run("INSERT INTO outbox.decision (source, number, action) VALUES ('parked', 7, 'dropped')")

	k.empty("event_1", true, nil)
	k.Count("SELECT count(*) FROM outbox.event", 1500)
	k.Count("SELECT n FROM outbox.dropped WHERE from_key = 1", 1000)
	k.states("event", "event_1 emptied", "event_1001 kept", "event_2001 open", "event_default default")
	k.drop("event_1", true, nil)
	k.states("event", "event_1001 kept", "event_2001 open", "event_default default")
	if _, err := k.Table.EmptyPartition(t.Context(), k.Pool, "event_1", time.Hour); err == nil {
		t.Error("a partition that is gone is emptied")
	}
	if _, err := k.Table.DropPartition(t.Context(), k.Pool, "event_1001"); err == nil {
		t.Error("a partition that was not emptied is dropped")
	}
	k.Insert(10)
	if first, err := k.Table.OldestPosition(t.Context(), k.Pool); err != nil || first > 1001 {
		t.Errorf("oldest %d, %v", first, err)
	}
}

// An open transaction, and one whose rows are not planned, keeps its partition. Nobody waits for longer than the lock
// timeout.
func TestRetentionBesideTransactions(t *testing.T) {
	k := &kept{tabletest.NewOutbox(t, 900)}
	tabletest.InTx(t, k.Pool, func(ctx context.Context, late pgx.Tx) {
		mustExec(t, late, k.Table.SQL("INSERT INTO outbox.event (subject) VALUES ('late')"))
		k.Run("SELECT setval('outbox.event_id_seq', 1000)")
		k.Insert(1500)
		k.Acked(2400, 2*time.Hour)
		k.states("event", "event_1 due", "event_1001 waiting"+unsettled, "event_2001 open", "event_default default") // the late row is invisible …
		k.empty("event_1", false, table.ErrBusy)                                                                     // … but its lock is not
	})
	k.states("event", "event_1 waiting"+unsettled, "event_1001 waiting"+unsettled, "event_2001 open", "event_default default")
	k.Plan()
	k.states("event", "event_1"+fmt.Sprintf(notAcked, 2401), "event_1001 due", "event_2001 open", "event_default default")
	k.empty("event_1", false, nil)
	k.Acked(2401, 2*time.Hour)

	tabletest.InTx(t, k.Pool, func(ctx context.Context, reader pgx.Tx) {
		mustExec(t, reader, k.Table.SQL("SELECT count(*) FROM outbox.event WHERE id > 1001")) // locks the parent and the partitions above
		k.empty("event_1", true, nil)
		k.drop("event_1", false, table.ErrBusy)
		began := time.Now()
		k.Insert(1)
		if waited := time.Since(began); waited > 2*time.Second {
			t.Errorf("a writer waited %s", waited)
		}
	})
	k.drop("event_1", true, nil)
	k.Count("SELECT count(*) FROM outbox.event", 1501)
}

// The plan and the receipts are dropped when no event needs them.
func TestRetentionOfThePlan(t *testing.T) {
	k := &kept{tabletest.NewOutbox(t, 0)}
	for range 5 {
		k.Insert(500)
	}
	k.Acked(2500, 2*time.Hour)
	k.Run("UPDATE outbox.batch SET planned_at = now() - interval '2 h'")
	k.states("batch", "batch_0 kept", "batch_1000 kept", "batch_2000 open", "batch_default default")
	k.empty("event_1", true, nil)
	k.states("batch", "batch_0 due", "batch_1000 kept", "batch_2000 open", "batch_default default")
	k.empty("batch_0", true, nil)
	k.drop("batch_0", true, nil)
	page, err := k.Table.Load(t.Context(), k.Pool, 400, table.Page{Events: 10000, Bytes: 1 << 20})
	if err != nil || len(page) != 1500 || page[0].Position != 1001 {
		t.Fatalf("loaded %d events, %v", len(page), err)
	}
	k.Insert(1)
	if c, err := k.Table.Cursor(t.Context(), k.Pool); err != nil || c.LastPosition != 2501 {
		t.Errorf("cursor %+v, %v", c, err)
	}
	k.Run("INSERT INTO outbox.receipt (stream, stream_created, position, sequence, acked_at) SELECT 'S', now(), 2500, 2500, now() - interval '3 h' FROM generate_series(1, 1500)")
	k.states("receipt", "receipt_1 due", "receipt_1001 open", "receipt_default default")
	k.empty("receipt_1", true, nil)
}

// Events in the default partition are counted and listed, and retention keeps them.
func TestDefaultPartition(t *testing.T) {
	k := &kept{tabletest.NewOutbox(t, 10)}
	k.Run("SELECT setval('outbox.event_id_seq', 5500)")
	k.Insert(20)
	if n, err := k.Table.DefaultRows(t.Context(), k.Pool); n != 20 || err != nil {
		t.Errorf("%d events in the default partition, %v; want 20", n, err)
	}
	k.Run("SELECT outbox.extend(100000, 1)")
	k.Run("SELECT setval('outbox.event_id_seq', (SELECT min(from_key) FROM outbox.partition WHERE family = 'event' AND from_key > 5520))")
	k.Insert(1)
	k.Acked(29, 2*time.Hour)
	k.Acked(31, 2*time.Hour)
	k.states("event", "event_1 due", "event_1001 due", "event_2001 due", "event_3001 due", "event_4001 due", "event_default due", "event_20001 open")
	k.empty("event_default", true, nil)
	k.Count("SELECT count(*) FROM outbox.event", 11)
	k.states("event", "event_1 due", "event_1001 due", "event_2001 due", "event_3001 due", "event_4001 due", "event_20001 open", "event_default default")
}

func mustExec(t *testing.T, tx pgx.Tx, query string) {
	t.Helper()
	if _, err := tx.Exec(t.Context(), query); err != nil {
		t.Fatal(err)
	}
}

func TestExtendMakesPartitionsAhead(t *testing.T) {
	tbl, pool := tabletest.New(t)
	if n, err := tbl.Extend(t.Context(), pool, table.DefaultRetention); n != 0 || err != nil {
		t.Fatalf("extended by %d, %v; want none to be needed", n, err)
	}
	tabletest.Run(t, pool, tbl.SQL("SELECT outbox.extend(1000, 2)"),
		tbl.SQL("SELECT setval(pg_get_serial_sequence('outbox.event', 'id'), 9000000)"),
		tbl.SQL("INSERT INTO outbox.event (subject) VALUES ('a')"))
	var home string
	if err := pool.QueryRow(t.Context(), tbl.SQL("SELECT tableoid::regclass::text FROM outbox.event")).Scan(&home); err != nil || !strings.HasSuffix(home, "event_default") {
		t.Fatalf("row beyond the last partition is in %s, %v; want the default one", home, err)
	}
}
