package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/relay"
)

// A station is one outbox and the stream that belongs to it, both empty and of the same name.
type station struct {
	l      *lab
	table  *table.Table
	stream string

	dial func(pgconn.DialFunc) pgconn.DialFunc // of the relay's connections to PostgreSQL; nil: as they are
}

// station migrates a schema and makes a stream.
func (l *lab) station(ctx context.Context) (*station, error) {
	schema := fmt.Sprintf("%s_%d", l.name, l.made.Add(1))
	tbl, err := table.In(schema)
	if err != nil {
		return nil, err
	}
	if _, err := tbl.Migrate(ctx, l.pool); err != nil {
		return nil, err
	}
	s := &station{l: l, table: tbl, stream: strings.ToUpper(schema)}
	return s, l.makeStream(ctx, s.stream)
}

// remove gives the disk back before the next run.
func (s *station) remove(ctx context.Context) error {
	return errors.Join(s.l.js.DeleteStream(ctx, s.stream), s.l.dropSchema(ctx, s.table.Schema()))
}

const (
	insertMany = `INSERT INTO outbox.event (subject, key, payload)
	SELECT $1 || '.' || (g % 1000), (g % 1000)::text, convert_to(repeat('x', $3::int), 'UTF8') FROM generate_series(1, $2::int) AS g`
	insertOne = `INSERT INTO outbox.event (event_id, subject, key, payload) VALUES ($1, $2, $3, $4)`
	// perStatement is how many rows one statement of fill writes.
	perStatement = 50_000
)

// fill has n events wait, as a backlog does after a while: what autovacuum and the checkpointer do to it is done.
func (s *station) fill(ctx context.Context, n int) error {
	for left := n; left > 0; left -= perStatement {
		if _, err := s.l.pool.Exec(ctx, s.table.SQL(insertMany), s.stream, min(left, perStatement), s.l.set.Payload); err != nil {
			return fmt.Errorf("insert a backlog: %w", err)
		}
	}
	if _, err := s.l.pool.Exec(ctx, s.table.SQL("VACUUM (ANALYZE) outbox.event")); err != nil {
		return fmt.Errorf("vacuum: %w", err)
	}
	if _, err := s.l.pool.Exec(ctx, "CHECKPOINT"); err != nil {
		s.l.note("no checkpoint before each run: %v", err)
	}
	return nil
}

// running is a relay at work.
type running struct {
	*relay.Relay
	wake   string // the statement that wakes it
	pool   *pgxpool.Pool
	nc     *nats.Conn
	cancel context.CancelFunc
	done   chan error
}

// relay starts a relay in this process, with connections of its own as the program has.
func (s *station) relay(ctx context.Context, options ...nats.Option) (*running, error) {
	r := &running{wake: s.table.SQL(notifyRelay), done: make(chan error, 1)}
	config := s.l.servers.Postgres.Copy()
	config.MaxConns = 4
	if s.dial != nil {
		config.ConnConfig.DialFunc = s.dial(config.ConnConfig.DialFunc)
	}
	var err error
	if r.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, fmt.Errorf("open pool: %w", err)
	}
	if r.nc, _, err = s.l.connect(options...); err != nil {
		r.pool.Close()
		return nil, err
	}
	r.Relay, err = relay.New(r.pool, r.nc, relay.Config{Schema: s.table.Schema(),
		Stream: s.stream, Name: "bench", BatchEvents: s.l.set.Batch, WindowEvents: s.l.set.Window, Replicas: s.l.set.Replicas,
		Retention: s.retention(),
	})
	if err != nil {
		r.pool.Close()
		r.nc.Close()
		return nil, err
	}
	ctx, r.cancel = context.WithCancel(ctx)
	go func() { r.done <- r.Run(ctx) }()
	return r, nil
}

// stop ends it in order, and says why if it had ended by itself, or had a doubt: a run with one is no measurement.
func (r *running) stop() error {
	stats := r.Stats()
	r.cancel()
	err := <-r.done
	r.nc.Close()
	r.pool.Close()
	if err == nil && stats.LastErrors > 0 {
		err = fmt.Errorf("the relay had to resume %d times, at last after: %s", stats.LastErrors, stats.LastError)
	}
	return err
}

// runWait bounds what one run waits for.
const runWait = 30 * time.Minute

// published waits until n events are.
func (r *running) published(ctx context.Context, n int) error {
	return until(ctx, runWait, fmt.Sprintf("%d events published", n), time.Millisecond, func() (bool, error) {
		return r.Stats().Published >= uint64(n), nil // #nosec G115 -- not negative
	})
}

// asleep waits until the relay sleeps.
func (r *running) asleep(ctx context.Context) error {
	return until(ctx, time.Minute, "the relay asleep", 200*time.Microsecond, func() (bool, error) { return r.Stats().Asleep, nil })
}

// until looks every so often until a look says yes or fails, ctx ends, or it took too long.
func until(ctx context.Context, within time.Duration, what string, every time.Duration, look func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("await %s: not within %s", what, within))
	defer cancel()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if done, err := look(); done || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// retention is the relay's own, but where partitions are counted: those shall stay.
func (s *station) retention() time.Duration {
	if s.l.set.Parts > 1 {
		return -1
	}
	return 0
}
