package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/seed-6eff6314/outbox-relay/internal/wait"
)

func writer() *Scenario {
	return &Scenario{
		Name: "writer", Short: "rate of commits by clients that do nothing else",
		Title:    "commits of one event each, as fast as the clients can, while a relay runs, compared with the same inserts without the wake trigger",
		needs:    []string{procPostgres, procNATS},
		defaults: Settings{Runs: 5, Duration: 10 * time.Second, Payload: 200, Clients: 32, Replicas: 1, Batch: 4096, Window: 8192},
		targets:  []target{atLeast(perSecond, 0.95)},
		open: func(_ context.Context, s *session) (*comparison, error) {
			return &comparison{arms: []arm{
				{"no trigger", func(ctx context.Context, m *meter) error { return s.write(ctx, m, dropWake) }},
				{oursArm, func(ctx context.Context, m *meter) error { return s.write(ctx, m) }},
				{"always NOTIFY", func(ctx context.Context, m *meter) error {
					return s.write(ctx, m, dropWake, notifyFunction, notifyTrigger)
				}},
			}}, nil
		},
	}
}

const (
	dropWake       = `DROP TRIGGER wake ON outbox.event`
	notifyRelay    = `SELECT pg_notify('outbox.wake', '')`
	notifyFunction = `CREATE FUNCTION outbox.always() RETURNS trigger LANGUAGE plpgsql AS
	'BEGIN PERFORM pg_notify(''bench'', ''''); RETURN NULL; END'`
	notifyTrigger = `CREATE TRIGGER always AFTER INSERT ON outbox.event FOR EACH STATEMENT EXECUTE FUNCTION outbox.always()`
)

// warmUp is how long the clients commit before the measurement, so that the relay is awake.
const warmUp = 500 * time.Millisecond

// write measures the clients on a new outbox whose triggers statements have changed.
func (s *session) write(ctx context.Context, m *meter, statements ...string) error {
	env, err := s.newEnvironment(ctx)
	if err != nil {
		return err
	}
	for _, statement := range statements {
		if _, err := s.pool.Exec(ctx, env.table.SQL(statement)); err != nil {
			return fmt.Errorf("change the trigger: %w", err)
		}
	}
	r, err := env.startRelay(ctx)
	if err != nil {
		return err
	}
	var commits atomic.Int64
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	var stop atomic.Bool
	group, work := errgroup.WithContext(work)
	for range s.set.Clients {
		group.Go(func() error { return s.commit(work, env, &commits, &stop) })
	}
	if err := s.wakeUp(work, r); err != nil {
		stop.Store(true)
		return errors.Join(err, group.Wait(), r.stop())
	}
	_ = wait.For(work, min(warmUp, s.set.Duration)) // group.Wait returns the error that ends work
	m.start()
	before, wakes := commits.Load(), r.Stats().Wakes
	_ = wait.For(work, s.set.Duration)
	n := int(commits.Load() - before)
	m.stop(n)
	m.value("wakes", float64(r.Stats().Wakes-wakes))
	stop.Store(true)
	err = group.Wait()
	return errors.Join(err, r.stop(), env.remove(ctx))
}

// wakeUp notifies the relay until it publishes. Without the trigger nothing else wakes it.
func (s *session) wakeUp(ctx context.Context, r *runningRelay) error {
	return until(ctx, lateTimeout, "the relay to publish", 20*time.Millisecond, func() (bool, error) {
		if r.Stats().Published > 0 {
			return true, nil
		}
		_, err := s.pool.Exec(ctx, r.notify)
		return false, err
	})
}

// commit commits single events until stop is true.
func (s *session) commit(ctx context.Context, env *environment, commits *atomic.Int64, stop *atomic.Bool) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("connect a writer: %w", err)
	}
	defer conn.Release()
	payload := bytes.Repeat([]byte("x"), s.set.Payload)
	query := env.table.SQL(insertOne)
	for i := 0; !stop.Load() && ctx.Err() == nil; i++ {
		key := strconv.Itoa(i % 1000)
		if _, err := conn.Exec(ctx, query, uuid.New(), env.stream+"."+key, key, payload); err != nil {
			return fmt.Errorf("commit an event: %w", err)
		}
		commits.Add(1)
	}
	return ctx.Err()
}
