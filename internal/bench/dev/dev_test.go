package dev_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/bench"
	"github.com/seed-6eff6314/outbox-relay/internal/bench/dev"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

// TestMain lets this test binary be the NATS that a test starts in a process of its own.
func TestMain(m *testing.M) {
	if kind := dev.Serving(); kind != "" {
		if err := dev.Serve(context.Background(), kind, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	devtest.Main(m)
}

// TestServers runs what needs NATS in a process of its own: the scenario with a cluster, and the allocations of the relay.
func TestServers(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s, stop, err := dev.Start(t.Context(), []string{self}, t.Output())
	defer func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}()
	if err != nil {
		t.Fatal(err)
	}
	t.Run("drain-r3", func(t *testing.T) {
		r := run(t, "drain-r3", bench.Config{Settings: small, Servers: s})
		if r.Settings.Replicas != 3 {
			t.Errorf("settings: %s", r.Settings)
		}
	})
	t.Run("allocations", func(t *testing.T) {
		set := bench.Settings{Runs: 1, Events: 10_000}
		m := run(t, "drain", bench.Config{Settings: set, Servers: s}).Measure("ours", "allocations_per_event")
		if m == nil || m.Value < 1 || m.Value > mostAllocations {
			t.Errorf("allocations per event: %+v, want at most %d", m, mostAllocations)
		} else {
			t.Logf("%.2f allocations per event", m.Value)
		}
	})
}

// mostAllocations is how many allocations of the relay are permitted for an event, from its row to its ack. They include the
// clients of PostgreSQL and NATS, and the start of the relay divided by 10,000 events.
const mostAllocations = 6

// small is the smallest size of drain-r3.
var small = bench.Settings{Runs: 1, Events: 300, Duration: 300 * time.Millisecond}

// run runs a scenario.
func run(t *testing.T, name string, cfg bench.Config) *bench.Result {
	t.Helper()
	found, err := bench.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Progress = t.Output()
	r, err := found[0].Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
