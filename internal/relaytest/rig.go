// Package relaytest has what tests of the relay and of what reads its stream have in common: an outbox, a stream, relays
// between them, and the verdict on the end state. Tests only.
package relaytest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox"
	"github.com/seed-6eff6314/outbox-relay/relay"
)

// Rig is the outbox and the stream of one test. Its methods end the test when something fails.
type Rig struct {
	T       testing.TB
	Table   *table.Table
	Pool    *pgxpool.Pool
	NATSURL string
	NC      *nats.Conn
	Stream  string
}

// New returns a rig on the shared servers, with a schema and a stream name of its own.
func New(t testing.TB) *Rig {
	g := &Rig{T: t, NATSURL: devtest.NATS(t).URL(), NC: devtest.Conn(t), Stream: devtest.Stream(t)}
	g.OpenTable()
	return g
}

// NewOwn returns a rig with a NATS server of its own, which the test may stop and damage.
func NewOwn(t testing.TB) (*Rig, *devstack.NATS) {
	broker := devtest.OwnNATS(t)
	g := &Rig{T: t, NATSURL: broker.URL(), Stream: devtest.Stream(t)}
	g.OpenTable()
	g.NC = g.Connect()
	return g, broker
}

// OpenTable migrates a schema of its own on the shared PostgreSQL.
func (g *Rig) OpenTable() {
	g.T.Helper()
	g.Pool = devtest.Pool(g.T)
	g.migrate(devtest.Schema(g.T))
}

// OpenTableOn migrates the default schema of another PostgreSQL.
func (g *Rig) OpenTableOn(server *devstack.Postgres) {
	g.T.Helper()
	pool, err := pgxpool.New(g.T.Context(), server.URL())
	Must(g.T, err)
	g.T.Cleanup(pool.Close)
	g.Pool = pool
	g.migrate(outbox.DefaultSchema)
}

func (g *Rig) migrate(schema string) {
	g.T.Helper()
	tbl, err := table.In(schema)
	Must(g.T, err)
	_, err = tbl.Migrate(g.T.Context(), g.Pool)
	Must(g.T, err)
	g.Table = tbl
}

// Subjects of the test's stream. No two streams of one server may overlap.
func (g *Rig) Subjects() []string { return []string{g.Stream + ".>"} }

// Subject is one of them.
func (g *Rig) Subject(format string, args ...any) string {
	return g.Stream + "." + fmt.Sprintf(format, args...)
}

// Config is a relay's, with short intervals and the test's log.
func (g *Rig) Config() relay.Config {
	return relay.Config{
		Schema: g.Table.Schema(), Stream: g.Stream, Subjects: g.Subjects(), Name: g.T.Name(),
		AckWait: 2 * time.Second, ReceiptEvery: 50 * time.Millisecond, StandbyPoll: 20 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(testLog{g.T}, &slog.HandlerOptions{Level: slog.LevelInfo})),
	}
}

// Retaining makes partitions small, and is Config with a retention of a second and batches that fit in a partition.
func (g *Rig) Retaining() relay.Config {
	devtest.SmallPartitions(g.T, g.Pool, g.Table.SQL)
	cfg := g.Config()
	cfg.Retention, cfg.MaintainEvery, cfg.BatchEvents, cfg.ReconcileEvery = time.Second, 20*time.Millisecond, 299, 200*time.Millisecond
	return cfg
}

type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// Connect opens a connection as a relay should have it.
func (g *Rig) Connect() *nats.Conn {
	g.T.Helper()
	return g.ConnectTo(g.NATSURL)
}

// ConnectTo is Connect to another URL.
func (g *Rig) ConnectTo(url string) *nats.Conn {
	g.T.Helper()
	nc, err := nats.Connect(url, nats.ReconnectBufSize(-1), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.RetryOnFailedConnect(true))
	Must(g.T, err)
	g.T.Cleanup(nc.Close)
	return nc
}

// Running is a relay in the background.
type Running struct {
	*relay.Relay
	Stop func() error // ends it and returns what Run returned
}

// Start starts a relay with a connection of its own.
func (g *Rig) Start(cfg relay.Config) *Running {
	g.T.Helper()
	return g.StartOn(g.Pool, g.Connect(), cfg)
}

// StartOn starts a relay on connections that are not the test's own. It ends with the test at the latest.
func (g *Rig) StartOn(pool *pgxpool.Pool, nc *nats.Conn, cfg relay.Config) *Running {
	g.T.Helper()
	r, err := relay.New(pool, nc, cfg)
	Must(g.T, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	var result error
	stopped := false
	run := &Running{Relay: r, Stop: func() error {
		if !stopped {
			stopped = true
			cancel()
			select {
			case result = <-done:
			case <-time.After(20 * time.Second):
				result = errors.New("relay did not stop within 20s")
			}
		}
		return result
	}}
	g.T.Cleanup(func() {
		if err := run.Stop(); err != nil && !g.T.Failed() {
			g.T.Errorf("relay: %v", err)
		}
	})
	return run
}
