package relay_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/relaytest"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// holds waits until the stream ends with every event that the table still has, each once and in order, and otherwise has only
// markers for dropped events.
func holds(g *relaytest.Rig, markers bool) {
	g.T.Helper()
	devtest.Eventually(g.T, 30*time.Second, "the stream has every event of the table", func() error {
		rows, err := g.Pool.Query(g.T.Context(), g.Table.SQL("SELECT event_id::text FROM outbox.event ORDER BY id"))
		if err != nil {
			return err
		}
		defer rows.Close()
		want := make(map[string]bool)
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				return err
			}
			want[id] = true
		}
		gone, last := 0, int64(0)
		err = g.ReadStream(g.T.Context(), func(m jetstream.Msg) error {
			e, err := event.Parse(m.Subject(), m.Headers(), nil)
			if err != nil {
				return err
			}
			if e.Position <= last {
				return fmt.Errorf("position %d after %d", e.Position, last)
			}
			last = e.Position
			if e.ID == uuid.Nil && m.Headers().Get(event.HeaderParked) == table.ReasonGone {
				gone++
			}
			delete(want, e.ID.String())
			return nil
		})
		if err != nil {
			return err
		}
		if len(want) > 0 || markers != (gone > 0) {
			return fmt.Errorf("%d events are missing, %d markers", len(want), gone)
		}
		return nil
	})
}

// The relay drops partitions while writers and it are working. A stream that is created again afterwards gets what is left.
func TestRetentionAndARecreatedStream(t *testing.T) {
	g := relaytest.New(t)
	cfg := g.Retaining()
	run := g.Start(cfg)
	g.InsertN(3500)
	g.Retained()
	if last := g.LastSequence(); last != 3500 {
		t.Fatalf("the stream ends at %d, want 3500", last)
	}
	devtest.Eventually(t, 10*time.Second, "the relay has counted what it dropped", func() error {
		if s := run.Stats(); s.Dropped < 3 || s.InDefault != 0 || s.LastErrors != 0 {
			return fmt.Errorf("%d partitions dropped, %d events in the default partition, %d errors, the last: %s", s.Dropped, s.InDefault, s.LastErrors, s.LastError)
		}
		return nil
	})
	js, err := jetstream.New(g.NC)
	relaytest.Must(t, err)
	relaytest.Must(t, js.DeleteStream(t.Context(), g.Stream))
	holds(g, true) // the table has lost the beginning of the first batch that is left
	g.InsertN(1)
	g.Drained()
	relaytest.Must(t, run.Stop())

	run = g.Start(cfg)
	g.InsertN(10)
	g.Drained()
	holds(g, true)
	if s := run.Stats(); s.Foreign != 0 {
		t.Errorf("%d foreign messages", s.Foreign)
	}
}

// A broker that lost messages from before the retention lost events for good. The relay logs that and continues.
func TestRetentionAndAStreamThatWentFarBack(t *testing.T) {
	g, broker := relaytest.NewOwn(t)
	cfg := g.Retaining()
	run := g.Start(cfg)
	g.InsertN(200)
	g.Drained()
	relaytest.Must(t, run.Stop())
	goBack := copyStore(t, broker)
	run = g.Start(cfg)
	g.InsertN(3500)
	g.Retained()
	goBack()
	g.InsertN(1)
	holds(g, true)
	if s := run.Stats(); s.Gone == 0 || s.Foreign != 0 {
		t.Errorf("%d positions gone, %d foreign messages", s.Gone, s.Foreign)
	}
	relaytest.Must(t, run.Stop())
	g.Start(cfg)
	g.InsertN(100)
	g.Drained()
	holds(g, true)
}

// Without a retention the relay creates partitions and drops none.
func TestRetentionOff(t *testing.T) {
	g := relaytest.New(t)
	cfg := g.Retaining()
	cfg.Retention = -1
	run := g.Start(cfg)
	g.InsertN(2500)
	g.Drained()
	devtest.Eventually(t, 30*time.Second, "partitions are created ahead", func() error {
		var ahead int
		err := g.Pool.QueryRow(context.Background(), g.Table.SQL("SELECT count(*) FROM outbox.partition WHERE family = 'event' AND from_key > 2500")).Scan(&ahead)
		if err == nil && ahead < 3 {
			err = fmt.Errorf("%d partitions are ahead", ahead)
		}
		return err
	})
	if n := g.Count(); n != 2500 || run.Stats().Dropped != 0 {
		t.Errorf("%d events, %d partitions dropped", n, run.Stats().Dropped)
	}
}

// The relay drops the events of the default partition when they are due. The partition stays.
func TestRetentionOfTheDefaultPartition(t *testing.T) {
	g := relaytest.New(t)
	cfg := g.Retaining()
	var logged bytes.Buffer // a handler writes one line at a time
	cfg.Logger = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelWarn}))
	run := func(query string) {
		t.Helper()
		_, err := g.Pool.Exec(t.Context(), g.Table.SQL(query))
		relaytest.Must(t, err)
	}
	next := func() {
		t.Helper()
		run(`SELECT setval('outbox.event_id_seq', (SELECT min(from_key) FROM outbox.partition
			WHERE family = 'event' AND from_key > (SELECT last_value FROM outbox.event_id_seq)))`)
		g.InsertN(1)
	}
	left := func() {
		t.Helper()
		devtest.Eventually(t, 30*time.Second, "old events are dropped", func() error {
			if n := g.Count(); n != 1 {
				return fmt.Errorf("the table has %d events, want 1", n)
			}
			return nil
		})
	}
	run("SELECT setval('outbox.event_id_seq', 50000)") // beyond every partition
	g.InsertN(20)
	run("SELECT outbox.extend(100000, 2, of_family => 'event')") // after the rows in the default partition
	next()
	r := g.Start(cfg)
	left()
	next() // events after the default partition are dropped in a later round
	left()
	relaytest.Must(t, r.Stop())
	if text := logged.String(); strings.Contains(text, "old partitions not dropped") {
		t.Error(text)
	}
}
