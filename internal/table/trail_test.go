package table_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/internal/table/tabletest"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// Finding one event, one key or one hour does not read the whole table.
func TestTrailKeepsToItsIndexes(t *testing.T) {
	k := &kept{tabletest.NewOutbox(t, 0)}
	k.Run("SELECT outbox.extend(100000, 1)")
	k.Run("INSERT INTO outbox.event (subject, key, payload) SELECT 'e.' || g, (g % 5000)::text, convert_to(repeat('x', 100), 'UTF8') FROM generate_series(1, 60000) g")
	k.Run(`DO $$ DECLARE i regclass; BEGIN
		FOR i IN SELECT c.oid::regclass FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE a.amname = 'brin' AND c.relkind = 'i' AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'outbox.event'::regclass) LOOP
			PERFORM brin_summarize_new_values(i);
		END LOOP; END $$`)
	k.Run("ANALYZE outbox.event")
	for query, index := range map[string]string{
		"SELECT * FROM outbox.trail WHERE event_id = '9fbf2b62-1f5c-4f0c-8a44-8e8ed6e4b3a1'":                             "event_5001_event_id_idx",
		"SELECT * FROM outbox.trail WHERE key = 'k7'":                                                                    "event_5001_key_created_at_idx",
		"SELECT * FROM outbox.trail WHERE created_at > now() - interval '2 h' AND created_at < now() - interval '1 h'":   "event_5001_key_created_at_idx",
		"SELECT id FROM outbox.event WHERE created_at >= now() - interval '2 h' AND created_at < now() - interval '1 h'": "event_5001_key_created_at_idx", // as in trail_of_time
		"SELECT * FROM outbox.event WHERE resend_of = '9fbf2b62-1f5c-4f0c-8a44-8e8ed6e4b3a1'":                            "event_5001_resend_of_idx",
	} {
		batch := &pgx.Batch{} // as in trail_of_event
		batch.Queue("SET enable_seqscan = off")
		batch.Queue(k.Table.SQL("EXPLAIN " + query))
		results := k.Pool.SendBatch(t.Context(), batch)
		_, _ = results.Exec()
		rows, err := results.Query()
		if err != nil {
			t.Fatal(err)
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		_ = results.Close()
		if plan := strings.Join(lines, "\n"); err != nil || !strings.Contains(plan, index) || strings.Contains(plan, "Seq Scan on event_5001 ") {
			t.Errorf("%s: %v\n%s", query, err, plan)
		}
	}
}

// The trail of an event, of its copies, and of a key.
func TestTrail(t *testing.T) {
	k := &kept{tabletest.NewOutbox(t, 0)}
	id, err := k.Table.InsertAndCommit(t.Context(), k.Pool, event.Event{Subject: "a.1", Key: "k", Payload: []byte(`{"a":1}`), Headers: map[string]string{"H": "v"}},
		event.Event{Subject: "a.2", Key: "other"}, event.Event{Subject: "a.3", Key: "k"})
	if err != nil {
		t.Fatal(err)
	}
	trail := k.trail(id[0], 1)
	if got := trail[0]; got.State != "pending" || got.Position != 0 || got.Headers["H"] != "v" || string(got.Payload) != `{"a":1}` || got.Xid == "" {
		t.Errorf("pending: %+v", got)
	}
	k.Plan()
	k.Run("INSERT INTO outbox.base (n, stream, stream_created, from_position, base, reason) VALUES (1, 'S', '2026-01-01', 1, 10, 'first')")
	k.Run("INSERT INTO outbox.receipt (stream, stream_created, position, sequence) VALUES ('S', '2026-01-01', 2, 12)")
	if got := k.trail(id[0], 1)[0]; got.State != "published" || got.Position != 1 || got.Sequence != 11 || got.Stream != "S" || got.Relay == "" || got.PublishedAt.IsZero() {
		t.Errorf("published: %+v", got)
	}
	k.Run(fmt.Sprintf("INSERT INTO outbox.event (subject, key, resend_of) VALUES ('a.1', 'k', '%s')", id[0]))
	if got := k.trail(id[0], 2)[1]; got.ResendOf != id[0] || got.State != "pending" {
		t.Errorf("copy: %+v", got)
	}
	for query, want := range map[string]string{
		"now() - interval '1 h', 'infinity'":       "1 2 3 4",
		"now() - interval '1 h', 'infinity', 2":    "1 2",
		"now() + interval '1 h', 'infinity'":       "",
		"'-infinity', now() - interval '1 h', 100": "",
	} {
		var got string
		err := k.Pool.QueryRow(t.Context(), k.Table.SQL("SELECT coalesce(string_agg(id::text, ' '), '') FROM outbox.trail_of_time("+query+")")).Scan(&got)
		if err != nil || got != want {
			t.Errorf("trail of %s: %q, %v; want %q", query, got, err, want)
		}
	}
	byKey, err := k.Table.TrailOfKey(t.Context(), k.Pool, "k", time.Now().Add(-time.Hour), 2)
	if err != nil || len(byKey) != 2 || byKey[0].ResendOf != id[0] || byKey[1].ID != id[2] {
		t.Errorf("by key: %+v, %v", byKey, err)
	}
	if byKey, err = k.Table.TrailOfKey(t.Context(), k.Pool, "k", time.Now().Add(time.Hour), 2); err != nil || len(byKey) != 0 {
		t.Errorf("by key, later: %+v, %v", byKey, err)
	}
	if rows, err := k.Table.TrailOfRows(t.Context(), k.Pool, []int64{1, 3}); err != nil || len(rows) != 2 || rows[0].RowID != 3 {
		t.Errorf("by row: %+v, %v", rows, err)
	}
	var seen []string
	looked, err := k.Table.RecentEvents(t.Context(), k.Pool, time.Now().Add(-time.Hour), 100, func(row int64, e *event.Event) bool {
		seen = append(seen, fmt.Sprint(row, e.Subject, e.Headers["H"]))
		return row > 2
	})
	if got := strings.Join(seen, " "); err != nil || looked != 4 || got != "4a.1 3a.3 2a.2" {
		t.Errorf("recent: %q, looked at %d, %v", got, looked, err)
	}
}

func (k *kept) trail(id uuid.UUID, n int) []table.Trail {
	k.T.Helper()
	trail, err := k.Table.TrailOf(k.T.Context(), k.Pool, id)
	if err != nil || len(trail) != n {
		k.T.Fatalf("trail of %s: %+v, %v; want %d", id, trail, err, n)
	}
	return trail
}
