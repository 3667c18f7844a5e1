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

// TestServers plays what needs servers in processes of their own: a cluster of NATS, and the allocations of the relay alone.
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
		r := play(t, "drain-r3", bench.Config{Settings: small, Servers: s})
		if r.Settings.Replicas != 3 {
			t.Errorf("settings: %s", r.Settings)
		}
	})
	t.Run("allocations", func(t *testing.T) {
		set := bench.Settings{Runs: 1, Events: 10_000}
		m := play(t, "drain", bench.Config{Settings: set, Servers: s}).Measure("ours", "allocations_per_event")
		if m == nil || m.Value < 1 || m.Value > mostAllocations {
			t.Errorf("allocations per event: %+v, want at most %d", m, mostAllocations)
		} else {
			t.Logf("%.2f allocations per event", m.Value)
		}
	})
}

// mostAllocations is the most that the relay may allocate for one event from the row to its ack, the clients of PostgreSQL
// and NATS included, its start spread over 10,000.
const mostAllocations = 6

// small is as small as drain-r3 can be.
var small = bench.Settings{Runs: 1, Events: 300, Duration: 300 * time.Millisecond}

func play(t *testing.T, name string, cfg bench.Config) *bench.Result {
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
