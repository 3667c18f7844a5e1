package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"

	"github.com/seed-6eff6314/outbox-relay/internal/wait"
	"github.com/seed-6eff6314/outbox-relay/relay"
)

// A runningRelay is a relay that runs in this process.
type runningRelay struct {
	*relay.Relay
	notify string    // the statement that wakes it
	acks   *observer // nil unless startObserved started it
	pool   *pgxpool.Pool
	nc     *nats.Conn
	cancel context.CancelFunc
	done   chan error
}

// startRelay starts a relay with connections of its own, as the program has them.
func (e *environment) startRelay(ctx context.Context, options ...nats.Option) (*runningRelay, error) {
	r := &runningRelay{notify: e.table.SQL(notifyRelay), done: make(chan error, 1)}
	config := e.s.servers.Postgres.Copy()
	config.MaxConns = 4
	if e.dial != nil {
		config.ConnConfig.DialFunc = e.dial(config.ConnConfig.DialFunc)
	}
	var err error
	if r.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, fmt.Errorf("open pool: %w", err)
	}
	if r.nc, _, err = e.s.connect(options...); err != nil {
		r.pool.Close()
		return nil, err
	}
	r.Relay, err = relay.New(r.pool, r.nc, relay.Config{
		Schema: e.table.Schema(), Stream: e.stream, Name: "bench", BatchEvents: e.s.set.Batch, WindowEvents: e.s.set.Window, Replicas: e.s.set.Replicas,
		Retention: e.retention(),
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

// startObserved starts a relay whose acks an observer records by position.
func (e *environment) startObserved(ctx context.Context) (*runningRelay, error) {
	o, err := e.s.observe(bySequence)
	if err != nil {
		return nil, err
	}
	r, err := e.startRelay(ctx, o.inbox())
	if err != nil {
		o.close()
		return nil, err
	}
	r.acks = o
	return r, nil
}

// retention is the default, or none if the number of partitions is a setting: the relay must not drop them then.
func (e *environment) retention() time.Duration {
	if e.s.set.Parts > 1 {
		return -1
	}
	return 0
}

// stop stops the relay. It returns an error if the relay ended before, or if it had to resume: such a run measures more than
// it should.
func (r *runningRelay) stop() error {
	stats := r.Stats()
	r.cancel()
	err := <-r.done
	r.nc.Close()
	r.pool.Close()
	if r.acks != nil {
		r.acks.close()
	}
	if err == nil && stats.LastErrors > 0 {
		err = fmt.Errorf("the relay resumed %d times, the last time after: %s", stats.LastErrors, stats.LastError)
	}
	return err
}

// runTimeout bounds every wait within a run.
const runTimeout = 30 * time.Minute

// awaitPublished waits until the relay has published n events.
func (r *runningRelay) awaitPublished(ctx context.Context, n int) error {
	return until(ctx, runTimeout, fmt.Sprintf("%d published events", n), time.Millisecond, func() (bool, error) {
		return r.Stats().Published >= uint64(n), nil // #nosec G115 -- not negative
	})
}

// awaitAsleep waits until the relay sleeps.
func (r *runningRelay) awaitAsleep(ctx context.Context) error {
	return until(ctx, time.Minute, "the relay to sleep", 200*time.Microsecond, func() (bool, error) { return r.Stats().Asleep, nil })
}

// drain measures from the start of a relay until it has published a backlog of n events.
func (e *environment) drain(ctx context.Context, m *meter, n int) error {
	m.start()
	r, err := e.startRelay(ctx)
	if err != nil {
		return err
	}
	err = r.awaitPublished(ctx, n)
	m.stop(n)
	return errors.Join(err, r.stop())
}

// until polls until check reports true or fails, or until ctx or the time within ends.
func until(ctx context.Context, within time.Duration, what string, every time.Duration, check func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("await %s: not within %s", what, within))
	defer cancel()
	return wait.Until(ctx, every, check)
}
