package relay_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/relaytest"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

func pause(g *relaytest.Rig, d time.Duration) {
	g.T.Helper()
	if _, err := g.Table.Pause(g.T.Context(), g.Pool, []string{table.PauseRelay}, d, "maintenance", "ada"); err != nil {
		g.T.Fatal(err)
	}
}

func resume(g *relaytest.Rig) {
	g.T.Helper()
	ended, err := g.Table.Resume(g.T.Context(), g.Pool, []string{table.PauseRelay}, "done", "ada")
	if err != nil || len(ended) != 1 {
		g.T.Fatalf("resumed %q, %v", ended, err)
	}
}

// polled waits until the leading relay has read its pause n more times and executed no other statement in between.
func polled(g *relaytest.Rig, name string, n int) {
	g.T.Helper()
	var last time.Time
	devtest.Eventually(g.T, 30*time.Second, fmt.Sprintf("%s reads its pause %d times", name, n), func() error {
		var query string
		var at time.Time
		err := g.Pool.QueryRow(g.T.Context(), `SELECT left(query, 10), query_start FROM pg_stat_activity
			WHERE application_name = left('outbox relay ' || $1, 63) AND state = 'idle'`, name).Scan(&query, &at)
		switch {
		case err != nil:
			return err
		case query != "-- paused:":
			return fmt.Errorf("it executes %q", query)
		case at.After(last):
			last = at
			n--
		}
		return relaytest.Holds(n < 0)
	})
}

// A paused relay keeps the lead and publishes nothing while writers continue. When it is resumed it publishes everything in order.
func TestPausedRelay(t *testing.T) {
	t.Parallel()
	g := relaytest.New(t)
	run := g.Start(g.Config())
	g.InsertN(100)
	g.Drained()
	pause(g, 0)
	devtest.Eventually(t, 10*time.Second, "paused", func() error { return relaytest.Holds(run.Stats().Paused) })
	before := g.LastSequence()
	g.InsertN(5000)
	polled(g, t.Name(), 3)
	if last := g.LastSequence(); last != before {
		t.Fatalf("the stream went from %d to %d during a pause", before, last)
	}
	s := run.Stats()
	if !s.Leads || s.Asleep || s.InFlight != 0 || s.PausedFor != "maintenance, by ada" {
		t.Fatalf("stats %+v", s)
	}
	resume(g)
	g.Drained()
	if run.Stats().Paused {
		t.Fatal("Stats still reports the pause")
	}
	g.Verify()
}

// A relay with a backlog is paused within a second and what it has in flight. Until then the test refills the backlog, so that
// events wait at the pause however fast or slow the relay is.
func TestPauseOfABusyRelay(t *testing.T) {
	t.Parallel()
	const backlog = 5_000
	g := relaytest.New(t)
	cfg := g.Config()
	cfg.BatchEvents, cfg.WindowEvents = 10, 10 // the pause interrupts many batches, not one
	refill := func() {
		if g.Count() < int(g.LastSequence())+backlog {
			g.InsertN(backlog)
		}
	}
	refill()
	run := g.Start(cfg)
	devtest.Eventually(t, 20*time.Second, "the relay publishes", func() error { refill(); return relaytest.Holds(g.LastSequence() > 100) })
	pause(g, 0)
	devtest.Eventually(t, 20*time.Second, "paused", func() error {
		if run.Stats().Paused {
			return nil
		}
		refill()
		return relaytest.Holds(false)
	})
	if last, inserted := g.LastSequence(), g.Count(); last >= uint64(inserted) {
		t.Fatalf("all %d events were published before the pause took effect, so the test shows nothing", inserted)
	}
	if err := run.Stop(); err != nil {
		t.Fatal(err)
	}
	resume(g)
	g.Start(g.Config())
	g.Drained()
	g.Verify()
}

// A pause applies to later relays, whether the last one was stopped or killed in full flight.
func TestPauseOutlivesRelays(t *testing.T) {
	t.Parallel()
	g := relaytest.New(t)
	g.InsertN(30_000)
	first := spawn(g, "first")
	devtest.Eventually(t, 20*time.Second, "the relay publishes", func() error { return relaytest.Holds(g.LastSequence() > 100) })
	pause(g, 0)
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait() // killed

	second := spawn(g, "second")
	polled(g, "second", 2)
	before := g.LastSequence()
	if before >= 30_000 {
		t.Fatal("everything was published before the pause, so the test shows nothing")
	}
	g.InsertN(100)
	polled(g, "second", 2)
	if err := second.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = second.Wait() // killed

	third := g.Start(g.Config())
	devtest.Eventually(t, 20*time.Second, "the third is paused", func() error { return relaytest.Holds(third.Stats().Paused) })
	if last := g.LastSequence(); last != before {
		t.Fatalf("the stream went from %d to %d during a pause", before, last)
	}
	resume(g)
	g.Drained()
	g.Verify()
}

// A pause with an end ends by itself.
func TestPauseEnds(t *testing.T) {
	t.Parallel()
	g := relaytest.New(t)
	pause(g, 3*time.Second)
	run := g.Start(g.Config())
	devtest.Eventually(t, 10*time.Second, "paused", func() error { return relaytest.Holds(run.Stats().Paused) })
	g.InsertN(100)
	g.Drained()
	g.Verify()
}
