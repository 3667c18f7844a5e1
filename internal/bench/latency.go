package bench

import (
	"context"
	"errors"
	"sync"
	"time"
)

func latency() *Scenario {
	return &Scenario{
		Name: "latency", Short: "latency from commit to key gone, at 2,000/s",
		Title:    "commits at a pace, from the commit to its keys gone, against a loop that looks and publishes, a pull and an UNLINK",
		needs:    cacheServers,
		defaults: Settings{Runs: 5, Duration: 10 * time.Second, Rate: 2000, Payload: 200, Clients: 16, Keys: 2, Replicas: 1, Batch: 4096, Window: 8192},
		targets:  []target{atMost(p50, 1.5), atMost(p99, 3)},
		open: func(_ context.Context, l *lab) (*bout, error) {
			return &bout{arms: []arm{{"look, publish, pull", l.latencyFloor}, {oursArm, l.latencyOurs}}}, nil
		},
	}
}

// A ledger notes when the keys of each event were gone. Safe for concurrent use.
type ledger struct {
	mu   sync.Mutex
	gone []time.Time // by event
	left int
}

func newLedger(n int) *ledger { return &ledger{gone: make([]time.Time, n), left: n} }

func (g *ledger) tell(keys []string, at time.Time, _ int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, key := range keys {
		if i := order(key); i >= 0 && i < len(g.gone) && g.gone[i].IsZero() {
			g.gone[i] = at
			g.left--
		}
	}
}

func (g *ledger) missing() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.left
}

func (l *lab) latencyOurs(ctx context.Context, m *meter) error {
	n := l.set.paced()
	if err := l.fillKeys(ctx, n); err != nil {
		return err
	}
	s, err := l.station(ctx)
	if err != nil {
		return err
	}
	set, err := l.rules(s.stream)
	if err != nil {
		return err
	}
	g := newLedger(n)
	stop, err := l.invalidator(ctx, s.stream, "bench", set, g.tell)
	if err != nil {
		return err
	}
	r, err := s.relay(ctx)
	if err != nil {
		return errors.Join(err, stop())
	}
	p := &load{sql: s.table.SQL(insertOne), subject: s.stream}
	err = r.asleep(ctx)
	if err == nil {
		m.start()
		err = p.play(ctx, l, n, l.set.Rate)
	}
	if err == nil {
		err = until(ctx, lateWait, "the keys of every event gone", time.Millisecond, func() (bool, error) { return g.missing() == 0, nil })
		m.stop(n)
	}
	err = errors.Join(err, r.stop(), stop(), s.remove(ctx))
	if err == nil {
		m.latencies(delays(p.committed, func(i int) time.Time { return g.gone[i] }))
	}
	return err
}

func (l *lab) latencyFloor(ctx context.Context, m *meter) error {
	n := l.set.paced()
	if err := l.fillKeys(ctx, n); err != nil {
		return err
	}
	f, err := l.naive(ctx, false, false)
	if err != nil {
		return err
	}
	g := newLedger(n)
	stop, err := l.consumeFloor(ctx, f.stream, "bench", g.tell)
	if err != nil {
		return errors.Join(err, f.remove(ctx))
	}
	work, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- f.run(work) }()
	p := &load{sql: f.sql(insertOne), subject: f.stream}
	m.start()
	err = p.play(ctx, l, n, l.set.Rate)
	m.stop(n)
	rest(ctx, settle)
	cancel()
	err = errors.Join(err, <-ended)
	if err == nil {
		err = until(ctx, lateWait, "the keys of what the floor found gone", time.Millisecond, func() (bool, error) { return g.missing() == n-f.sent, nil })
	}
	err = errors.Join(err, stop(), f.remove(ctx))
	if err == nil {
		l.lost(m, n, f.sent)
		m.latencies(delays(p.committed, func(i int) time.Time { return g.gone[i] }))
	}
	return err
}
