package bench

import (
	"context"
	"errors"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/wait"
)

func wake() *Scenario {
	return &Scenario{
		Name: "wake", Short: "latency of one event after a pause",
		Title:    "one event after a pause, from commit to ack of the stream, compared with NOTIFY in the commit, a SELECT and a publish",
		needs:    []string{procPostgres, procNATS},
		defaults: Settings{Runs: 5, Events: 200, Payload: 200, Clients: 1, Replicas: 1, Batch: 4096, Window: 8192, Parts: 1},
		targets:  []target{atMost(p50, 1.5)},
		open: func(_ context.Context, s *session) (*comparison, error) {
			return &comparison{arms: []arm{{"NOTIFY, SELECT, publish", s.wakeFloor}, {oursArm, s.wakeOurs}}}, nil
		},
	}
}

// wakePause is how long nothing happens before an event.
const wakePause = 25 * time.Millisecond

func (s *session) wakeOurs(ctx context.Context, m *meter) error {
	env, err := s.newEnvironment(ctx)
	if err != nil {
		return err
	}
	r, err := env.startObserved(ctx)
	if err != nil {
		return err
	}
	err = r.awaitAsleep(ctx)
	if err == nil { // the events that partition inserted are published
		w := wakeUps{load: load{sql: env.table.SQL(insertOne), subject: env.stream}, acks: r.acks, lastAck: int64(r.Stats().Position)}
		err = s.oneAtATime(ctx, m, w, r.awaitAsleep)
	}
	return errors.Join(err, r.stop(), env.remove(ctx))
}

func (s *session) wakeFloor(ctx context.Context, m *meter) error {
	n, err := s.newNaive(ctx, naiveMode{listen: true, oneByOne: true, observed: true})
	if err != nil {
		return err
	}
	stop := n.start(ctx)
	w := wakeUps{load: load{sql: n.sql(naiveNotify), subject: n.stream}, acks: n.acks, lastAck: -1}
	err = s.oneAtATime(ctx, m, w, func(context.Context) error { return nil })
	return errors.Join(err, stop(), n.remove(ctx))
}

// wakeUps are single events, each after a pause.
type wakeUps struct {
	load    load
	acks    *observer
	lastAck int64 // number of the ack before the first event
}

// oneAtATime commits an event after a pause, waits for its ack, and repeats that. asleep waits until the relay sleeps.
func (s *session) oneAtATime(ctx context.Context, m *meter, w wakeUps, asleep func(context.Context) error) error {
	all := make([]time.Duration, 0, s.set.Events)
	seen := w.acks.count()
	m.start()
	for i := range s.set.Events {
		if err := wait.For(ctx, wakePause); err != nil {
			return err
		}
		if err := asleep(ctx); err != nil {
			return err
		}
		one := w.load
		one.from = i
		if err := one.run(ctx, s, 1, 0); err != nil {
			return err
		}
		acks, err := w.acks.await(ctx, seen+i+1, lateTimeout)
		if err != nil {
			return err
		}
		all = append(all, max(0, acks[w.lastAck+1+int64(i)].Sub(one.committed[0])))
	}
	m.stop(s.set.Events)
	m.latencies(all)
	return nil
}
