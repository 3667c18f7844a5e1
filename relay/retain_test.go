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
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
	"github.com/seed-6eff6314/outbox-relay/relay"
)

func (g *rig) retaining() relay.Config {
	devtest.SmallPartitions(g.t, g.pool, g.table.SQL)
	cfg := g.config()
	cfg.Retention, cfg.HouseEvery, cfg.BatchEvents, cfg.ReconcileEvery = time.Second, 20*time.Millisecond, 299, 200*time.Millisecond
	return cfg
}

// kept waits until the relay has dropped all but the partition that is being filled.
func (g *rig) kept() {
	g.t.Helper()
	g.drained()
	devtest.Eventually(g.t, 30*time.Second, "old partitions are dropped", func() error {
		if n := g.count(); n >= 1000 {
			return fmt.Errorf("%d events are there", n)
		}
		return nil
	})
}

// holds waits until the stream ends with every event that the table still has, each once and in order, and has nothing else but
// markers for what is gone.
func (g *rig) holds(markers bool) {
	g.t.Helper()
	devtest.Eventually(g.t, 30*time.Second, "the stream has what the table has", func() error {
		rows, err := g.pool.Query(g.t.Context(), g.table.SQL("SELECT event_id::text FROM outbox.event ORDER BY id"))
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
		err = g.readStream(g.t.Context(), func(m jetstream.Msg) error {
			e, err := event.Parse(m.Subject(), m.Headers(), nil)
			if err != nil {
				return err
			}
			if e.Position <= last {
				return fmt.Errorf("position %d after %d", e.Position, last)
			}
			last = e.Position
			if e.ID == uuid.Nil && m.Headers().Get(event.HeaderParked) == table.Gone {
				gone++
			}
			delete(want, e.ID.String())
			return nil
		})
		if err != nil {
			return err
		}
		if len(want) > 0 || markers != (gone > 0) {
			return fmt.Errorf("%d events are not there, %d markers", len(want), gone)
		}
		return nil
	})
}

// Partitions go while writers and the relay are at work, and a stream that is made again afterwards gets what is left.
func TestRetentionAndARecreatedStream(t *testing.T) {
	g := newRig(t)
	cfg := g.retaining()
	run := g.start(cfg)
	g.insertN(3500)
	g.kept()
	if last := g.lastSequence(); last != 3500 {
		t.Fatalf("the stream ends at %d, want 3500", last)
	}
	devtest.Eventually(t, 10*time.Second, "the relay has counted what it dropped", func() error {
		if s := run.Stats(); s.Dropped < 3 || s.Net != 0 || s.LastErrors != 0 {
			return fmt.Errorf("%d partitions dropped, %d events in the net, %d errors, the last: %s", s.Dropped, s.Net, s.LastErrors, s.LastError)
		}
		return nil
	})
	js, err := jetstream.New(g.nc)
	must(t, err)
	must(t, js.DeleteStream(t.Context(), g.stream))
	g.holds(true) // the first batch that is left has lost its beginning
	g.insertN(1)
	g.drained()
	must(t, run.stop())

	run = g.start(cfg)
	g.insertN(10)
	g.drained()
	g.holds(true)
	if s := run.Stats(); s.Foreign != 0 {
		t.Errorf("%d foreign messages", s.Foreign)
	}
}

// A broker that went back to before the retention has lost events for good: the relay says so and goes on.
func TestRetentionAndAStreamThatWentFarBack(t *testing.T) {
	g, broker := newOwnRig(t)
	cfg := g.retaining()
	run := g.start(cfg)
	g.insertN(200)
	g.drained()
	must(t, run.stop())
	goBack := copyStore(t, broker)
	run = g.start(cfg)
	g.insertN(3500)
	g.kept()
	goBack()
	g.insertN(1)
	g.holds(true)
	if s := run.Stats(); s.Gone == 0 || s.Foreign != 0 {
		t.Errorf("%d positions gone, %d foreign messages", s.Gone, s.Foreign)
	}
	must(t, run.stop())
	g.start(cfg)
	g.insertN(100)
	g.drained()
	g.holds(true)
}

// With no retention partitions are made, and none is dropped.
func TestRetentionForEver(t *testing.T) {
	g := newRig(t)
	cfg := g.retaining()
	cfg.Retention = -1
	run := g.start(cfg)
	g.insertN(2500)
	g.drained()
	devtest.Eventually(t, 30*time.Second, "partitions are made ahead", func() error {
		var ahead int
		err := g.pool.QueryRow(context.Background(), g.table.SQL("SELECT count(*) FROM outbox.partition WHERE family = 'event' AND from_key > 2500")).Scan(&ahead)
		if err == nil && ahead < 3 {
			err = fmt.Errorf("%d are ahead", ahead)
		}
		return err
	})
	if n := g.count(); n != 2500 || run.Stats().Dropped != 0 {
		t.Errorf("%d events, %d partitions dropped", n, run.Stats().Dropped)
	}
}

// Events in the default partition are dropped when they are due, and it stays.
func TestRetentionOfTheNet(t *testing.T) {
	g := newRig(t)
	cfg := g.retaining()
	var said bytes.Buffer // a handler writes one line at a time
	cfg.Logger = slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelWarn}))
	run := func(query string) {
		t.Helper()
		_, err := g.pool.Exec(t.Context(), g.table.SQL(query))
		must(t, err)
	}
	next := func() {
		t.Helper()
		run(`SELECT setval('outbox.event_id_seq', (SELECT min(from_key) FROM outbox.partition
			WHERE family = 'event' AND from_key > (SELECT last_value FROM outbox.event_id_seq)))`)
		g.insertN(1)
	}
	left := func() {
		t.Helper()
		devtest.Eventually(t, 30*time.Second, "old events are dropped", func() error {
			if n := g.count(); n != 1 {
				return fmt.Errorf("%d events are there, want 1", n)
			}
			return nil
		})
	}
	run("SELECT setval('outbox.event_id_seq', 50000)") // beyond every partition
	g.insertN(20)
	run("SELECT outbox.extend(100000, 2, of_family => 'event')") // behind the rows that are there
	next()
	r := g.start(cfg)
	left()
	next() // what comes after the net goes with a later look
	left()
	must(t, r.stop())
	if text := said.String(); strings.Contains(text, "old partitions not dropped") {
		t.Error(text)
	}
}
