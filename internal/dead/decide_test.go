package dead_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/internal/dead"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/internal/table/tabletest"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
	text "github.com/seed-6eff6314/outbox-relay/sql"
)

// A replay of more than two transactions copies each event once, unchanged and in order.
func TestReplayParked(t *testing.T) {
	y := newYard(t)
	const n = 2100
	events := make([]event.Event, n)
	for i := range events {
		events[i] = deadEvent(i)
	}
	events[5].Payload = make([]byte, event.MaxPayload)
	parked := y.park(events...)
	steps := 0
	w := y.work()
	w.Progress = func(dead.Outcome) { steps++ }
	equal(t, "outcome", y.replay(w), dead.Outcome{Done: n})
	equal(t, "transactions", steps, 3)
	copies := y.copies()
	if len(copies) != n {
		t.Fatalf("%d copies", len(copies))
	}
	for i, c := range copies {
		want := parked[i]
		if c.ResendOf != want.ID || c.ID == want.ID || c.Subject != want.Subject || c.Key != want.Key || string(c.Payload) != string(want.Payload) || c.Headers["Trace"] != want.Headers["Trace"] {
			t.Fatalf("copy %d is %+v of %+v", i, c, want.Event)
		}
	}
	equal(t, "again", y.replay(y.work()), dead.Outcome{})
	equal(t, "list", y.list(dead.Filter{}).Total, 0)
	status, err := y.table.Status(t.Context(), y.pool, "S")
	if err != nil || status.Parked != 0 {
		t.Errorf("status: %d parked, %v", status.Parked, err)
	}
	equal(t, "decision", y.one(`SELECT concat_ws(' ', source, number, action, copy, decided_by) FROM outbox.decision WHERE number = 1`),
		fmt.Sprintf("parked 1 replayed %s %s", copies[0].ID, y.one(`SELECT session_user::text`)))
	equal(t, "trail", y.one(`SELECT state FROM outbox.trail WHERE event_id = $1`, parked[3].ID.String()), "replayed")
}

// A replay leaves out events that die while it runs, and those beyond its limit.
func TestReplayHasAnEnd(t *testing.T) {
	y := newYard(t)
	y.park(deadEvent(0), deadEvent(1), deadEvent(2))
	w := y.work()
	w.Limit = 2
	w.Progress = func(dead.Outcome) { y.parkPlanned() } // the copies die as well
	equal(t, "first", y.replay(w).Done, 2)
	equal(t, "left", y.list(dead.Filter{}).Total, 3)
	w = y.work()
	w.Progress = func(dead.Outcome) { y.parkPlanned() }
	equal(t, "second", y.replay(w).Done, 3)
	equal(t, "parked again", y.list(dead.Filter{}).Total, 3)
}

// Concurrent replays insert one copy of each event, and the copies of a key in order.
func TestConcurrentReplays(t *testing.T) {
	y := newYard(t)
	const n, people = 3000, 6
	events := make([]event.Event, n)
	for i := range events {
		events[i] = deadEvent(i)
	}
	parked := y.park(events...)
	var (
		wg    sync.WaitGroup
		total = make(chan dead.Outcome, people)
	)
	for range people {
		w := y.work()
		wg.Go(func() {
			out, err := dead.In(y.table).Replay(t.Context(), y.pool, w)
			if err != nil {
				t.Error(err)
			}
			total <- out
		})
	}
	wg.Wait()
	close(total)
	done := 0
	for out := range total {
		done += out.Done
	}
	equal(t, "done", done, n)
	originals := make([]uuid.UUID, 0, n)
	for _, c := range y.copies() {
		originals = append(originals, c.ResendOf)
	}
	want := make([]uuid.UUID, n)
	for i := range parked {
		want[i] = parked[i].ID
	}
	if !slices.Equal(originals, want) {
		t.Errorf("%d copies, not those of the %d events in their order", len(originals), n)
	}
}

// The outcome lists events that cannot be inserted again, with the reason. The others are replayed, and these can be
// dropped.
func TestReplayOfInvalidEvents(t *testing.T) {
	y := newYard(t)
	tabletest.InTx(t, y.pool, func(ctx context.Context, tx pgx.Tx) { // a superuser can bypass the constraints
		for _, statement := range []string{
			`DO $$ DECLARE c record; BEGIN FOR c IN SELECT conname FROM pg_constraint WHERE conrelid = 'outbox.event'::regclass AND contype = 'c' LOOP
				EXECUTE format('ALTER TABLE outbox.event DROP CONSTRAINT %I', c.conname); END LOOP; END $$`,
			`INSERT INTO outbox.event (subject, headers) VALUES ('users.1.updated', '{"Trace": "1"}'), ('two words', NULL), ('a.b', '{"n": 1}'),
				('a.c', '{"Nats-Rollup": "all"}'), ('users.5.updated', NULL), ('users.6.updated', NULL)`,
			// A rule that only the database has.
			`ALTER TABLE outbox.event ADD CONSTRAINT odd CHECK (subject <> 'users.5.updated' OR resend_of IS NULL)`,
		} {
			if _, err := tx.Exec(ctx, y.table.SQL(statement)); err != nil {
				t.Fatal(err)
			}
		}
	})
	rows, err := y.pool.Query(t.Context(), y.table.SQL(`SELECT id, event_id::text, subject FROM outbox.event ORDER BY id`))
	if err != nil {
		t.Fatal(err)
	}
	var planned []table.Planned
	for rows.Next() {
		var p table.Planned
		var id string
		if err := rows.Scan(&p.RowID, &id, &p.Subject); err != nil {
			t.Fatal(err)
		}
		p.ID, p.Position = uuid.MustParse(id), p.RowID
		planned = append(planned, p)
	}
	if _, err := y.pool.Exec(t.Context(), y.table.SQL(`INSERT INTO outbox.batch (first_position, last_position, ids, head, snapshot)
		VALUES (1, 6, '{[1,7)}', 6, pg_current_snapshot())`)); err != nil {
		t.Fatal(err)
	}
	for i := range planned {
		if err := y.table.Park(t.Context(), y.pool, &planned[i], "rejected", "", "r"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := y.pool.Exec(t.Context(), y.table.SQL(`DELETE FROM outbox.event WHERE id = 6`)); err != nil { // as if its partition was dropped
		t.Fatal(err)
	}
	out := y.replay(y.work())
	equal(t, "done", out.Done, 1)
	var reasons []string
	for _, f := range out.Failed {
		reasons = append(reasons, fmt.Sprint(f.Number, " ", f.Err))
	}
	for i, want := range []string{`2 invalid event: subject "two words"`, "3 invalid event: decode headers", `4 invalid event: header name "Nats-Rollup"`,
		"6 retention has dropped its row in outbox.event", `5 insert events: ERROR: new row for relation`} {
		if i >= len(reasons) || !strings.HasPrefix(reasons[i], want) {
			t.Errorf("failures %q, want %q", reasons, want)
		}
	}
	equal(t, "left", y.list(dead.Filter{}).Total, 5)
	dropped, err := dead.In(y.table).Drop(t.Context(), y.pool, y.work())
	equal(t, "dropped", []any{dropped.Done, len(dropped.Failed), err}, []any{5, 0, nil})
	equal(t, "left after the drop", y.list(dead.Filter{}).Total, 0)
	equal(t, "rows kept", y.one(`SELECT count(*)::text FROM outbox.parked`), 6)
	equal(t, "decisions", y.one(`SELECT string_agg(action, ' ' ORDER BY number) FROM outbox.decision`), "replayed dropped dropped dropped dropped dropped")
}

// A decision is durable before a dead letter is deleted, also in a database with asynchronous commits.
func TestDecisionsAreDurable(t *testing.T) {
	t.Parallel()
	tbl, pool := tabletest.New(t)
	q, err := text.Bind[struct{ DeadDecide string }](tbl.Schema())
	if err != nil {
		t.Fatal(err)
	}
	for before, want := range map[string]string{"off": "on", "local": "on", "on": "on", "remote_apply": "remote_apply"} {
		tabletest.InTx(t, pool, func(ctx context.Context, tx pgx.Tx) {
			var got string
			if _, err := tx.Exec(ctx, "SET LOCAL synchronous_commit = "+before); err != nil {
				t.Fatal(err)
			}
			if _, err := tx.Exec(ctx, q.DeadDecide, "parked", []int64{1}, "dropped", []string{""}); err != nil {
				t.Fatal(err)
			}
			if err := tx.QueryRow(ctx, "SHOW synchronous_commit").Scan(&got); err != nil || got != want {
				t.Errorf("%s became %s (%v), want %s", before, got, err, want)
			}
		})
	}
}
