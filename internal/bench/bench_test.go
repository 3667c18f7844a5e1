package bench_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"

	"github.com/seed-6eff6314/outbox-relay/internal/bench"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

// TestMain lets this test binary be the NATS that a test wants in a process of its own.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "serve" {
		if err := bench.Serve(context.Background(), os.Args[2], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	devtest.Main(m)
}

// tiny is as small as a scenario can be.
var tiny = bench.Settings{Runs: 1, Events: 300, Duration: 300 * time.Millisecond, Rate: 300, Clients: 4, Keys: 3, Parts: 6}

func servers(t *testing.T) *bench.Servers {
	t.Helper()
	config, err := pgxpool.ParseConfig(devtest.Postgres(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	url := devtest.NATS(t).URL()
	return &bench.Servers{
		Postgres: config, Redis: devtest.RedisClient(t),
		NATS: func(name string, options ...nats.Option) (*nats.Conn, error) {
			return nats.Connect(url, append(options, nats.Name(name))...)
		},
	}
}

// TestScenarios plays every scenario once, and expects of each that it leaves nothing behind.
func TestScenarios(t *testing.T) {
	s := servers(t)
	all := bench.Scenarios()
	for _, scenario := range all {
		if scenario.Name == "drain-r3" {
			continue // needs a cluster: TestOwn
		}
		t.Run(scenario.Name, func(t *testing.T) {
			set := tiny
			if scenario.Name == "wake" {
				set.Events = 5
			}
			r, err := scenario.Run(t.Context(), bench.Config{Settings: set, Servers: s, Progress: t.Output()})
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Print(t.Output()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestOwn plays what needs servers in processes of their own: a cluster of NATS, and the allocations of the relay alone.
func TestOwn(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s, stop, err := bench.Own(t.Context(), []string{self, "serve"}, t.Output())
	defer func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}()
	if err != nil {
		t.Fatal(err)
	}
	t.Run("drain-r3", func(t *testing.T) {
		r := play(t, "drain-r3", bench.Config{Settings: tiny, Servers: s})
		if r.Settings.Replicas != 3 {
			t.Errorf("settings: %s", r.Settings)
		}
	})
	t.Run("allocations", func(t *testing.T) {
		set := bench.Settings{Runs: 1, Events: 20_000}
		m := play(t, "drain", bench.Config{Settings: set, Servers: s}).Measure("ours", "allocations_per_event")
		if m == nil || m.Value < 1 || m.Value > mostAllocations {
			t.Errorf("allocations per event: %+v, want at most %d", m, mostAllocations)
		}
	})
}

// mostAllocations is the most that the relay may allocate for one event from the row to its ack, the clients of PostgreSQL
// and NATS included.
const mostAllocations = 24

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
