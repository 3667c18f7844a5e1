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

// childSpec is what a relay in a process of its own is told.
type childSpec struct {
	Database, NATS, Schema string
	Config                 relay.Config
}

// child is a relay process: it ends with SIGTERM, or is killed.
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
func (g *rig) spawn(name string) *exec.Cmd {
	g.t.Helper()
	cfg := g.config()
	cfg.Name, cfg.Logger = name, nil
	spec, err := json.Marshal(childSpec{Database: devtest.Postgres(g.t).URL(), NATS: g.natsURL, Schema: g.table.Schema(), Config: cfg})
	if err != nil {
		g.t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(spec))
	if testing.Verbose() {
		cmd.Stderr = os.Stderr
	}
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	return cmd
}

// The relay is killed 30 times in full flight and the broker restarted five times among it, while eight writers stall,
// roll back and change the same keys. The stream then equals the table: each event once, at its position, and the
// versions of every key in order.
func TestKilledRelays(t *testing.T) {
	t.Parallel()
	const kills, keys = 30, 40
	g := &rig{t: t, stream: devtest.Stream(t)}
	broker := devtest.OwnNATS(t)
	g.natsURL = broker.URL()
	g.openTable()
	g.nc = g.connect()
	if _, err := g.pool.Exec(t.Context(), g.table.SQL(`CREATE TABLE outbox.account (key int PRIMARY KEY, version int NOT NULL DEFAULT 0);
		INSERT INTO outbox.account SELECT generate_series(0, 39)`)); err != nil {
		t.Fatal(err)
	}
	load := g.load(8, keys)

	rng := rand.New(rand.NewPCG(2, 5))
	for i := range kills {
		cmd := g.spawn(fmt.Sprintf("killed-%d", i))
		before := g.lastSequence()
		// It has published something of its own, so it is in the middle of its work.
		devtest.Eventually(t, 20*time.Second, "the relay publishes", func() error {
			if last := g.lastSequence(); last <= before+uint64(rng.IntN(400)) {
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
	g.start(g.config())
	g.drained()
	g.verify()
	g.verifyVersions()
	t.Logf("%d kills, 5 broker restarts, %d events, each once and in order", kills, committed)
}

func (g *rig) lastSequence() uint64 {
	js, err := jetstream.New(g.nc)
	if err != nil {
		g.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(g.t.Context(), time.Second)
	defer cancel()
	s, err := js.Stream(ctx, g.stream)
	if err != nil {
		return 0 // not made yet, or the broker is starting
	}
	return s.CachedInfo().State.LastSeq
}

// load starts writers; the function it returns stops them and says how many events they committed.
func (g *rig) load(writers, keys int) (stop func() int64) {
	ctx, cancel := context.WithCancel(g.t.Context())
	var group errgroup.Group
	var committed atomic.Int64
	for i := range writers {
		rng := rand.New(rand.NewPCG(uint64(i), 11))
		conn, err := pgx.ConnectConfig(g.t.Context(), g.pool.Config().ConnConfig.Copy())
		if err != nil {
			g.t.Fatal(err)
		}
		group.Go(func() error {
			defer conn.Close(context.Background()) //nolint:errcheck // only a connection
			for ctx.Err() == nil {
				n, err := g.change(conn, rng, keys)
				if err != nil {
					return err
				}
				committed.Add(n)
			}
			return nil
		})
	}
	g.t.Cleanup(cancel)
	return func() int64 {
		cancel()
		if err := group.Wait(); err != nil {
			g.t.Fatal(err)
		}
		return committed.Load()
	}
}

// change is one business transaction on one key; a sixth of them roll back, some stall before they end.
func (g *rig) change(conn *pgx.Conn, rng *rand.Rand, keys int) (events int64, err error) {
	ctx := context.Background()
	tx, err := conn.Begin(ctx)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback(ctx) //nolint:errcheck // after a commit it has nothing to do
	key := rng.IntN(keys)
	for range 1 + rng.IntN(3) {
		var version int
		if err := tx.QueryRow(ctx, g.table.SQL("UPDATE outbox.account SET version = version + 1 WHERE key = $1 RETURNING version"), key).Scan(&version); err != nil {
			return 0, err
		}
		if _, err := g.table.Insert(ctx, tx, event.Event{Subject: g.subject("%d", key), Key: strconv.Itoa(key), Headers: map[string]string{"Version": strconv.Itoa(version)}}); err != nil {
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

// verifyVersions reads the stream: the versions of a key are 1, 2, 3 … without a gap.
func (g *rig) verifyVersions() {
	g.t.Helper()
	version := make(map[string]int)
	err := g.readStream(g.t.Context(), func(m jetstream.Msg) error {
		key := m.Headers().Get(event.HeaderKey)
		version[key]++
		if got := m.Headers().Get("Version"); got != strconv.Itoa(version[key]) {
			return fmt.Errorf("key %s: version %s where %d belongs", key, got, version[key])
		}
		return nil
	})
	if err != nil {
		g.t.Fatal(err)
	}
}
