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
)

func writer() *Scenario {
	return &Scenario{
		Name: "writer", Short: "commits of clients that do nothing else",
		Title:    "commits of one event each by clients that do nothing else, a relay at work beside them, against the same inserts without a trigger",
		needs:    []string{procPostgres, procNATS},
		defaults: Settings{Runs: 5, Duration: 10 * time.Second, Payload: 200, Clients: 32, Replicas: 1, Batch: 4096, Window: 8192},
		targets:  []target{atLeast(perSecond, 0.95)},
		open: func(_ context.Context, l *lab) (*bout, error) {
			return &bout{arms: []arm{
				{"no trigger", func(ctx context.Context, m *meter) error { return l.write(ctx, m, dropWake) }},
				{oursArm, func(ctx context.Context, m *meter) error { return l.write(ctx, m) }},
				{"notify always", func(ctx context.Context, m *meter) error {
					return l.write(ctx, m, dropWake, notifyFunction, notifyTrigger)
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

// warmUp is what the clients do before they are measured: the relay is awake then.
const warmUp = 500 * time.Millisecond

// write measures the clients on a new outbox that was changed by statements.
func (l *lab) write(ctx context.Context, m *meter, change ...string) error {
	s, err := l.station(ctx)
	if err != nil {
		return err
	}
	for _, statement := range change {
		if _, err := l.pool.Exec(ctx, s.table.SQL(statement)); err != nil {
			return fmt.Errorf("change the trigger: %w", err)
		}
	}
	r, err := s.relay(ctx)
	if err != nil {
		return err
	}
	var commits atomic.Int64
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	var stop atomic.Bool
	group, work := errgroup.WithContext(work)
	for range l.set.Clients {
		group.Go(func() error { return l.commit(work, s, &commits, &stop) })
	}
	if err := l.rouse(work, r); err != nil {
		stop.Store(true)
		return errors.Join(err, group.Wait(), r.stop())
	}
	rest(work, min(warmUp, l.set.Duration))
	m.start()
	before, wakes := commits.Load(), r.Stats().Wakes
	rest(work, l.set.Duration)
	n := int(commits.Load() - before)
	m.stop(n)
	m.value("wakes", float64(r.Stats().Wakes-wakes))
	stop.Store(true)
	err = group.Wait()
	return errors.Join(err, r.stop(), s.remove(ctx))
}

// rouse wakes the relay, which nobody else does without the trigger, and waits until it is at work.
func (l *lab) rouse(ctx context.Context, r *running) error {
	return until(ctx, lateWait, "the relay at work", 20*time.Millisecond, func() (bool, error) {
		if r.Stats().Published > 0 {
			return true, nil
		}
		_, err := l.pool.Exec(ctx, r.wake)
		return false, err
	})
}

// commit inserts until it is told to stop.
func (l *lab) commit(ctx context.Context, s *station, commits *atomic.Int64, stop *atomic.Bool) error {
	conn, err := l.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("connect a writer: %w", err)
	}
	defer conn.Release()
	payload := bytes.Repeat([]byte("x"), l.set.Payload)
	query := s.table.SQL(insertOne)
	for i := 0; !stop.Load() && ctx.Err() == nil; i++ {
		key := strconv.Itoa(i % 1000)
		if _, err := conn.Exec(ctx, query, uuid.New(), s.stream+"."+key, key, payload); err != nil {
			return fmt.Errorf("commit an event: %w", err)
		}
		commits.Add(1)
	}
	return ctx.Err()
}
