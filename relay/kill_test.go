package relay_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/relaytest"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
	"github.com/seed-6eff6314/outbox-relay/relay"
)

const childEnv = "OUTBOX_TEST_RELAY_CHILD"

func TestMain(m *testing.M) {
	if spec := os.Getenv(childEnv); spec != "" {
		os.Exit(child(spec))
	}
	devtest.Main(m)
}

// childSpec configures a relay in a process of its own.
type childSpec struct {
	Database, NATS string
	Config         relay.Config
}

// child is the main function of a relay process. SIGTERM ends it.
func child(text string) int {
	var spec childSpec
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		panic(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	spec.Config.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	err := func() error {
		pool, err := pgxpool.New(ctx, spec.Database)
		if err != nil {
			return err
		}
		defer pool.Close()
		nc, err := nats.Connect(spec.NATS, nats.ReconnectBufSize(-1), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.RetryOnFailedConnect(true))
		if err != nil {
			return err
		}
		defer nc.Close()
		r, err := relay.New(pool, nc, spec.Config)
		if err != nil {
			return err
		}
		return r.Run(ctx)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// spawn starts a relay in a process of its own.
func spawn(g *relaytest.Rig, name string) *exec.Cmd {
	g.T.Helper()
	cfg := g.Config()
	cfg.Name, cfg.Logger = name, nil
	spec, err := json.Marshal(childSpec{Database: devtest.Postgres(g.T).URL(), NATS: g.NATSURL, Config: cfg})
	if err != nil {
		g.T.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(spec))
	if testing.Verbose() {
		cmd.Stderr = os.Stderr
	}
	if err := cmd.Start(); err != nil {
		g.T.Fatal(err)
	}
	return cmd
}

// The test kills the relay 30 times in full flight and restarts the broker five times, while eight writers stall,
// roll back and change the same keys. At the end the stream equals the table: each event once, at its position, and the
// versions of every key in order.
func TestKilledRelays(t *testing.T) {
	t.Parallel()
	const kills, keys = 30, 40
	g := &relaytest.Rig{T: t, Stream: devtest.Stream(t)}
	broker := devtest.OwnNATS(t)
	g.NATSURL = broker.URL()
	g.OpenTable()
	g.NC = g.Connect()
	if _, err := g.Pool.Exec(t.Context(), g.Table.SQL(`CREATE TABLE outbox.account (key int PRIMARY KEY, version int NOT NULL DEFAULT 0);
		INSERT INTO outbox.account SELECT generate_series(0, 39)`)); err != nil {
		t.Fatal(err)
	}
	load := load(g, 8, keys)

	rng := rand.New(rand.NewPCG(2, 5))
	for i := range kills {
		cmd := spawn(g, fmt.Sprintf("killed-%d", i))
		before := g.LastSequence()
		// It has published something, so it is in the middle of its work.
		devtest.Eventually(t, 20*time.Second, "the relay publishes", func() error {
			if last := g.LastSequence(); last <= before+uint64(rng.IntN(400)) {
				return fmt.Errorf("stream ends at %d", last)
			}
			return nil
		})
		if i%6 == 3 {
			if err := broker.Stop(); err != nil {
				t.Fatal(err)
			}
			if err := broker.Start(); err != nil {
				t.Fatal(err)
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed
	}
	committed := load()
	g.Start(g.Config())
	g.Drained()
	g.Verify()
	verifyVersions(g)
	t.Logf("%d kills, 5 broker restarts, %d events, each once and in order", kills, committed)
}

// load starts writers and returns a function that stops them and returns how many events they committed.
func load(g *relaytest.Rig, writers, keys int) (stop func() int64) {
	ctx, cancel := context.WithCancel(g.T.Context())
	var group errgroup.Group
	var committed atomic.Int64
	for i := range writers {
		rng := rand.New(rand.NewPCG(uint64(i), 11))
		conn, err := pgx.ConnectConfig(g.T.Context(), g.Pool.Config().ConnConfig.Copy())
		if err != nil {
			g.T.Fatal(err)
		}
		group.Go(func() error {
			defer conn.Close(context.Background()) //nolint:errcheck // nothing depends on it
			for ctx.Err() == nil {
				n, err := change(g, conn, rng, keys)
				if err != nil {
					return err
				}
				committed.Add(n)
			}
			return nil
		})
	}
	g.T.Cleanup(cancel)
	return func() int64 {
		cancel()
		if err := group.Wait(); err != nil {
			g.T.Fatal(err)
		}
		return committed.Load()
	}
}

// change is one business transaction on one key. A sixth of them roll back, and some stall before they end.
func change(g *relaytest.Rig, conn *pgx.Conn, rng *rand.Rand, keys int) (events int64, err error) {
	ctx := context.Background()
	tx, err := conn.Begin(ctx)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback(ctx) //nolint:errcheck // no effect after a commit
	key := rng.IntN(keys)
	for range 1 + rng.IntN(3) {
		var version int
		if err := tx.QueryRow(ctx, g.Table.SQL("UPDATE outbox.account SET version = version + 1 WHERE key = $1 RETURNING version"), key).Scan(&version); err != nil {
			return 0, err
		}
		if _, err := g.Table.Insert(ctx, tx, event.Event{Subject: g.Subject("%d", key), Key: strconv.Itoa(key), Headers: map[string]string{"Version": strconv.Itoa(version)}}); err != nil {
			return 0, err
		}
		events++
	}
	if rng.IntN(5) == 0 {
		if _, err := tx.Exec(ctx, "SELECT pg_sleep($1)", rng.Float64()*0.02); err != nil {
			return 0, err
		}
	}
	if rng.IntN(6) == 0 {
		return 0, nil
	}
	return events, tx.Commit(ctx)
}

// verifyVersions expects the versions of each key in the stream to be 1, 2, 3 … without a gap.
func verifyVersions(g *relaytest.Rig) {
	g.T.Helper()
	version := make(map[string]int)
	err := g.ReadStream(g.T.Context(), func(m jetstream.Msg) error {
		key := m.Headers().Get(event.HeaderKey)
		version[key]++
		if got := m.Headers().Get("Version"); got != strconv.Itoa(version[key]) {
			return fmt.Errorf("key %s: want version %d, got %s", key, version[key], got)
		}
		return nil
	})
	if err != nil {
		g.T.Fatal(err)
	}
}
