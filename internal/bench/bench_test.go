package bench_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/bench"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

func TestMain(m *testing.M) { devtest.Main(m) }

// tiny is the smallest size of a scenario.
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

// TestScenarios runs every scenario once, at the smallest size.
func TestScenarios(t *testing.T) {
	s := servers(t)
	t.Run("all", func(t *testing.T) { // ends after the parallel tests in it
		for _, scenario := range bench.Scenarios() {
			if scenario.Name == "drain-r3" {
				continue // needs a cluster: package dev tests it
			}
			t.Run(scenario.Name, func(t *testing.T) {
				t.Parallel()
				set := tiny
				switch scenario.Name {
				case "wake":
					set.Events, set.Parts = 5, 12 // more partitions than a new outbox has
				case "fan-out":
					set.Events, set.Keys, set.Instances = 20, 120, 2 // more keys than one rule may have
				}
				r := run(t, scenario.Name, bench.Config{Settings: set, Servers: s, Lean: scenario.Name == "steady"})
				if r.Scenario != scenario.Name || len(r.Samples) < 1 || r.Bottleneck == "" || len(r.Measures) == 0 {
					t.Errorf("%+v", r)
				}
				if err := r.Print(t.Output()); err != nil {
					t.Error(err)
				}
			})
		}
	})
	checkNothingLeft(t)
}

// TestCurve runs the points of a curve that its limit of events allows.
func TestCurve(t *testing.T) {
	curve, err := bench.FindCurve("backlog")
	if err != nil {
		t.Fatal(err)
	}
	d, err := curve.Run(t.Context(), bench.Config{Settings: bench.Settings{Runs: 1, Events: 10_000}, Servers: servers(t), Progress: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Points) != 1 || d.Points[0].X != 10_000 || d.Points[0].Ours("events_per_second") == nil || len(d.Points[0].Result.Samples) != 2 {
		t.Errorf("%+v", d.Points)
	}
}

// TestInterrupted cancels scenarios after they have created something, and expects them to remove it.
func TestInterrupted(t *testing.T) {
	s := servers(t)
	for name, begun := range map[string]func(leftovers) bool{
		"latency":          func(l leftovers) bool { return l.schemas > 0 && l.keys > 0 && len(l.streams) > 0 },
		"long-transaction": func(l leftovers) bool { return l.schemas > 0 && len(l.streams) > 0 },
	} {
		t.Run(name, func(t *testing.T) {
			found, err := bench.Find(name)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended, find := make(chan error, 1), leftoverFinder(t)
			go func() {
				set := bench.Settings{Runs: 50, Events: 3000, Duration: time.Minute, Rate: 20, Clients: 4}
				_, err := found[0].Run(ctx, bench.Config{Settings: set, Servers: s})
				ended <- err
			}()
			devtest.Eventually(t, 20*time.Second, "a schema, a stream or a key", func() error {
				if l := find(); !begun(l) {
					return fmt.Errorf("found %+v", l)
				}
				return nil
			})
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("a canceled scenario returns %v, want context.Canceled", err)
			}
			checkNothingLeft(t)
		})
	}
}

// leftovers are what scenarios have created and not removed.
type leftovers struct {
	schemas, keys int
	streams       []string
}

// leftoverFinder returns a function that finds leftovers, on connections of its own.
func leftoverFinder(t *testing.T) func() leftovers {
	t.Helper()
	pool, rdb := devtest.Pool(t), devtest.RedisClient(t)
	js, err := jetstream.New(devtest.Conn(t))
	if err != nil {
		t.Fatal(err)
	}
	return func() leftovers { t.Helper(); return findLeftovers(t, pool, rdb, js) }
}

func findLeftovers(t *testing.T, pool *pgxpool.Pool, rdb redis.UniversalClient, js jetstream.JetStream) (l leftovers) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'outbox_bench%'").Scan(&l.schemas); err != nil {
		t.Fatal(err)
	}
	keys, err := rdb.Keys(t.Context(), "outbox_bench*").Result()
	if err != nil {
		t.Fatal(err)
	}
	l.keys = len(keys)
	for name := range js.StreamNames(t.Context()).Name() {
		if strings.HasPrefix(name, "OUTBOX_BENCH") {
			l.streams = append(l.streams, name)
		}
	}
	return l
}

func checkNothingLeft(t *testing.T) {
	t.Helper()
	if l := leftoverFinder(t)(); l.schemas > 0 || l.keys > 0 || len(l.streams) > 0 {
		t.Errorf("not removed: %+v", l)
	}
}

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
