package bench

import (
	"context"
	"errors"
	"sync"
	"time"
)

func latency() *Scenario {
	return &Scenario{
		Name: "latency", Short: "latency from commit to deleted key at 2,000 commits/s",
		Title:    "commits at a fixed rate, from commit to deleted keys, compared with a loop that polls and publishes, a pull consumer and UNLINK",
		needs:    cacheServers,
		defaults: Settings{Runs: 5, Duration: 10 * time.Second, Rate: 2000, Payload: 200, Clients: 16, Keys: 2, Replicas: 1, Batch: 4096, Window: 8192},
		targets:  []target{atMost(p50, 1.5), atMost(p99, 3)},
		open: func(_ context.Context, s *session) (*comparison, error) {
			return &comparison{arms: []arm{{"poll, publish, pull", s.latencyFloor}, {oursArm, s.latencyOurs}}}, nil
		},
	}
}

// deletions records when the keys of each event were deleted. It is safe for concurrent use.
type deletions struct {
	mu   sync.Mutex
	at   []time.Time // by event
	left int
}

func newDeletions(n int) *deletions { return &deletions{at: make([]time.Time, n), left: n} }

// add implements onDeleted.
func (d *deletions) add(events []string, at time.Time, _ int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, key := range events {
		if i := keyNumber(key); i >= 0 && i < len(d.at) && d.at[i].IsZero() {
			d.at[i] = at
			d.left--
		}
	}
}

// await waits until at most left events have keys that are not deleted.
func (d *deletions) await(ctx context.Context, left int) error {
	return until(ctx, lateTimeout, "the last delete", time.Millisecond, func() (bool, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.left <= left, nil
	})
}

func (s *session) latencyOurs(ctx context.Context, m *meter) error {
	n := s.set.paced()
	if err := s.fillKeys(ctx, n); err != nil {
		return err
	}
	env, err := s.newEnvironment(ctx)
	if err != nil {
		return err
	}
	set, err := s.rules(env.stream)
	if err != nil {
		return err
	}
	deleted := newDeletions(n)
	stop, err := s.startInvalidator(ctx, env.stream, "bench", set, deleted.add)
	if err != nil {
		return err
	}
	r, err := env.startRelay(ctx)
	if err != nil {
		return errors.Join(err, stop())
	}
	p := &load{sql: env.table.SQL(insertOne), subject: env.stream}
	err = r.awaitAsleep(ctx)
	if err == nil {
		m.start()
		err = p.run(ctx, s, n, s.set.Rate)
	}
	if err == nil {
		err = deleted.await(ctx, 0)
		m.stop(n)
	}
	err = errors.Join(err, r.stop(), stop(), env.remove(ctx))
	if err == nil {
		m.latencies(delays(p.committed, func(i int) time.Time { return deleted.at[i] }))
	}
	return err
}

func (s *session) latencyFloor(ctx context.Context, m *meter) error {
	count := s.set.paced()
	if err := s.fillKeys(ctx, count); err != nil {
		return err
	}
	n, err := s.newNaive(ctx, naiveMode{})
	if err != nil {
		return err
	}
	deleted := newDeletions(count)
	stop, err := s.startConsumer(ctx, n.stream, "bench", deleted.add)
	if err != nil {
		return errors.Join(err, n.remove(ctx))
	}
	p, err := n.runLoad(ctx, m)
	if err == nil {
		err = deleted.await(ctx, count-n.sent)
	}
	err = errors.Join(err, stop(), n.remove(ctx))
	if err == nil {
		n.noteLost(m, count)
		m.latencies(delays(p.committed, func(i int) time.Time { return deleted.at[i] }))
	}
	return err
}
