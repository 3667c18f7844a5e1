package relay_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

func (g *rig) pause(d time.Duration) {
	g.t.Helper()
	if _, err := g.table.Pause(g.t.Context(), g.pool, []string{table.PauseRelay}, d, "maintenance", "ada"); err != nil {
		g.t.Fatal(err)
	}
}

func (g *rig) resume() {
	g.t.Helper()
	ended, err := g.table.Resume(g.t.Context(), g.pool, []string{table.PauseRelay}, "done", "ada")
	if err != nil || len(ended) != 1 {
		g.t.Fatalf("resumed %q, %v", ended, err)
	}
}

// looked waits until the relay that leads has asked n times more whether it is paused, and done nothing else in between.
func (g *rig) looked(name string, n int) {
	g.t.Helper()
	var last time.Time
	devtest.Eventually(g.t, 30*time.Second, fmt.Sprintf("%s looks %d times", name, n), func() error {
		var query string
		var at time.Time
		err := g.pool.QueryRow(g.t.Context(), `SELECT left(query, 10), query_start FROM pg_stat_activity
			WHERE application_name = left('outbox relay ' || $1, 63) AND state = 'idle'`, name).Scan(&query, &at)
		switch {
		case err != nil:
			return err
		case query != "-- paused:":
			return fmt.Errorf("it does %q", query)
		case at.After(last):
			last = at
			n--
		}
		return ok(n < 0)
	})
}

// A paused relay publishes nothing while writers go on, leads on, and publishes all of it in order when it is resumed.
func TestPausedRelay(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	run := g.start(g.config())
	g.insertN(100)
	g.drained()
	g.pause(0)
	devtest.Eventually(t, 10*time.Second, "paused", func() error { return ok(run.Stats().Paused) })
	before := g.lastSequence()
	g.insertN(5000)
	g.looked(t.Name(), 3)
	if last := g.lastSequence(); last != before {
		t.Fatalf("the stream went from %d to %d during a pause", before, last)
	}
	s := run.Stats()
	if !s.Leads || s.Asleep || s.InFlight != 0 || s.PausedFor != "maintenance, by ada" {
		t.Fatalf("stats %+v", s)
	}
	g.resume()
	g.drained()
	if run.Stats().Paused {
		t.Fatal("it still says that it is paused")
	}
	g.verify()
}

// A relay with a backlog is paused within a second and the batches in hand.
func TestPauseOfABusyRelay(t *testing.T) {
	t.Parallel()
	const backlog = 60_000
	g := newRig(t)
	cfg := g.config()
	cfg.BatchEvents, cfg.WindowEvents = 10, 10 // so that it takes long
	g.insertN(backlog)
	run := g.start(cfg)
	devtest.Eventually(t, 20*time.Second, "it publishes", func() error { return ok(g.lastSequence() > 100) })
	g.pause(0)
	devtest.Eventually(t, 20*time.Second, "paused", func() error { return ok(run.Stats().Paused) })
	if n := g.lastSequence(); n >= backlog {
		t.Fatal("everything was published before the pause: the test shows nothing")
	}
	if err := run.stop(); err != nil {
		t.Fatal(err)
	}
	g.resume()
	g.start(g.config())
	g.drained()
	g.verify()
}

// A pause holds for the relays to come, whether the last one was stopped or killed in full flight.
func TestPauseOutlivesRelays(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.insertN(30_000)
	first := g.spawn("first")
	devtest.Eventually(t, 20*time.Second, "it publishes", func() error { return ok(g.lastSequence() > 100) })
	g.pause(0)
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait() // killed

	second := g.spawn("second")
	g.looked("second", 2)
	before := g.lastSequence()
	if before >= 30_000 {
		t.Fatal("everything was published before the pause: the test shows nothing")
	}
	g.insertN(100)
	g.looked("second", 2)
	if err := second.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = second.Wait() // killed

	third := g.start(g.config())
	devtest.Eventually(t, 20*time.Second, "the third is paused", func() error { return ok(third.Stats().Paused) })
	if last := g.lastSequence(); last != before {
		t.Fatalf("the stream went from %d to %d during a pause", before, last)
	}
	g.resume()
	g.drained()
	g.verify()
}

// A pause with an end is over by itself.
func TestPauseEnds(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.pause(3 * time.Second)
	run := g.start(g.config())
	devtest.Eventually(t, 10*time.Second, "paused", func() error { return ok(run.Stats().Paused) })
	g.insertN(100)
	g.drained()
	g.verify()
}
