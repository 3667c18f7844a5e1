package bench

import (
	"context"
	"errors"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

func steady() *Scenario {
	return &Scenario{
		Name: "steady", Short: "latency from commit to ack at 5,000 commits/s",
		Title:    "commits at a fixed rate, from commit to ack of the stream, compared with a loop that polls every millisecond, publishes and waits for the acks",
		needs:    []string{procPostgres, procNATS},
		defaults: Settings{Runs: 5, Duration: 10 * time.Second, Rate: 5000, Payload: 200, Clients: 16, Replicas: 1, Batch: 4096, Window: 8192},
		targets:  []target{atMost(p50, 1.5), atMost(p99, 3)},
		open: func(_ context.Context, s *session) (*comparison, error) {
			return &comparison{arms: []arm{
				{"poll, publish all", func(ctx context.Context, m *meter) error { return s.steadyFloor(ctx, m, false) }},
				{oursArm, s.steadyOurs},
				{"poll, one by one", func(ctx context.Context, m *meter) error { return s.steadyFloor(ctx, m, true) }},
			}}, nil
		},
	}
}

// lateTimeout bounds the wait for the last event after a load.
const lateTimeout = time.Minute

// paced returns how many events a run at a fixed rate has.
func (s Settings) paced() int { return max(1, int(s.Duration.Seconds()*float64(s.Rate))) }

func (s *session) steadyOurs(ctx context.Context, m *meter) error {
	env, err := s.newEnvironment(ctx)
	if err != nil {
		return err
	}
	r, err := env.startObserved(ctx)
	if err != nil {
		return err
	}
	n := s.set.paced()
	p := &load{sql: env.table.SQL(insertOne), subject: env.stream}
	err = r.awaitAsleep(ctx)
	m.start()
	var acks map[int64]time.Time // by position
	if err == nil {
		err = p.run(ctx, s, n, s.set.Rate)
	}
	if err == nil {
		acks, err = r.acks.await(ctx, n, lateTimeout)
	}
	m.stop(n)
	if err == nil {
		at := make([]int64, n)
		err = env.positions(ctx, func(position int64, event int) { at[event] = position })
		m.latencies(delays(p.committed, func(i int) time.Time { return acks[at[i]] }))
	}
	return errors.Join(err, r.stop(), env.remove(ctx))
}

// positions calls each with the position and the number of every planned event.
func (e *environment) positions(ctx context.Context, each func(position int64, event int)) error {
	for next := int64(1); ; {
		page, err := e.table.Load(ctx, e.s.pool, next, table.Page{Events: 10_000, Bytes: 64 << 20})
		if err != nil {
			return err
		}
		if len(page) == 0 {
			return nil
		}
		for i := range page {
			each(page[i].Position, keyNumber(page[i].Key))
		}
		next = page[len(page)-1].Position + 1
	}
}

func (s *session) steadyFloor(ctx context.Context, m *meter, oneByOne bool) error {
	n, err := s.newNaive(ctx, naiveMode{oneByOne: oneByOne, observed: true})
	if err != nil {
		return err
	}
	p, err := n.runLoad(ctx, m)
	if err == nil {
		var acks map[int64]time.Time // by event
		if acks, err = n.acks.await(ctx, n.sent, lateTimeout); err == nil {
			n.noteLost(m, len(p.committed))
			m.latencies(delays(p.committed, func(i int) time.Time { return acks[int64(i)] }))
		}
	}
	return errors.Join(err, n.remove(ctx))
}
