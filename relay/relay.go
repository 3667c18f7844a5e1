package relay

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"

	"github.com/seed-6eff6314/outbox-relay/internal/stream"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// Errors that end Run. Each needs a person.
var (
	// ErrStream reports that the stream cannot serve this relay as it is configured.
	ErrStream = errors.New("stream does not fit")
	// ErrRecreated reports that the stream was deleted and created again, and OnRecreate is RecreatedHalt.
	ErrRecreated = errors.New("stream was recreated")
	// ErrRemoved reports that messages were removed from the stream, and OnRemoved is RemovedHalt.
	ErrRemoved = errors.New("messages were removed from the stream")
	// ErrRefused reports that the stream will never accept an event, and OnRefuse is RefusedHalt.
	ErrRefused = errors.New("event refused")
	// ErrPooler reports that a pooler in transaction mode is between the relay and PostgreSQL.
	ErrPooler = table.ErrPooler
	// ErrMoved reports that the outbox was restored from another cluster. outbox adopt lets it continue here.
	ErrMoved = table.ErrMoved
)

// Relay moves the events of one outbox to one stream. Any number of relays may run for an outbox; one of them leads.
type Relay struct {
	cfg    Config
	table  *table.Table
	pool   *pgxpool.Pool
	nc     *nats.Conn
	stream *stream.Reader
	log    *slog.Logger
	stats  counters
	mem    memory // owned by the goroutine in Run, and while a window lives by its reconciler
}

// New checks the configuration; it connects to nothing. pool must reach PostgreSQL directly, not through a transaction pooler:
// with the same settings the relay opens one more connection, for its session. nc should have been connected with
// nats.ReconnectBufSize(-1) and nats.MaxReconnects(-1).
func New(pool *pgxpool.Pool, nc *nats.Conn, cfg Config) (*Relay, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, fmt.Errorf("new relay: %w", err)
	}
	t, err := table.In(cfg.Schema)
	if err != nil {
		return nil, fmt.Errorf("new relay: %w", err)
	}
	return &Relay{cfg: cfg, table: t, pool: pool, nc: nc, stream: stream.NewReader(nc, cfg.Stream), log: cfg.Logger}, nil
}
