package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

func steady() *Scenario {
	return &Scenario{
		Name: "steady", Short: "latency from commit to ack, at 5,000 commits/s",
		Title:    "commits at a pace, from the commit to the ack of the stream, against a loop that looks every millisecond, publishes and waits for the acks",
		needs:    []string{procPostgres, procNATS},
		defaults: Settings{Runs: 5, Duration: 10 * time.Second, Rate: 5000, Payload: 200, Clients: 16, Replicas: 1, Batch: 4096, Window: 8192},
		targets:  []target{atMost(p50, 1.5), atMost(p99, 3)},
		open: func(_ context.Context, l *lab) (*bout, error) {
			return &bout{arms: []arm{
				{"look, publish all", func(ctx context.Context, m *meter) error { return l.steadyFloor(ctx, m, false) }},
				{oursArm, l.steadyOurs},
				{"look, one by one", func(ctx context.Context, m *meter) error { return l.steadyFloor(ctx, m, true) }},
			}}, nil
		},
	}
}

// lateWait bounds the wait for the last ack after a load.
const lateWait = time.Minute

// paced is how many events a run with a pace has.
func (s Settings) paced() int { return max(1, int(s.Duration.Seconds()*float64(s.Rate))) }

func (l *lab) steadyOurs(ctx context.Context, m *meter) error {
	s, err := l.station(ctx)
	if err != nil {
		return err
	}
	o, err := l.observe(bySequence)
	if err != nil {
		return err
	}
	defer o.close()
	r, err := s.relay(ctx, o.inbox())
	if err != nil {
		return err
	}
	n := l.set.paced()
	p := &load{sql: s.table.SQL(insertOne), subject: s.stream}
	err = r.asleep(ctx)
	m.start()
	var acks map[int64]time.Time // by position
	if err == nil {
		err = p.play(ctx, l, n, l.set.Rate)
	}
	if err == nil {
		acks, err = o.acked(ctx, n, lateWait)
	}
	m.stop(n)
	if err == nil {
		at := make([]int64, n)
		err = s.positions(ctx, func(position int64, event int) { at[event] = position })
		m.latencies(delays(p.committed, func(i int) time.Time { return acks[at[i]] }))
	}
	return errors.Join(err, r.stop(), s.remove(ctx))
}

// positions tells the position of each event, which the plan has.
func (s *station) positions(ctx context.Context, each func(position int64, event int)) error {
	for next := int64(1); ; {
		page, err := s.table.Load(ctx, s.l.pool, next, table.Page{Events: 10_000, Bytes: 64 << 20})
		if err != nil {
			return err
		}
		if len(page) == 0 {
			return nil
		}
		for i := range page {
			each(page[i].Position, order(page[i].Key))
		}
		next = page[len(page)-1].Position + 1
	}
}

// settle is how long a naive relay goes on after the load.
const settle = 300 * time.Millisecond

func (l *lab) steadyFloor(ctx context.Context, m *meter, oneByOne bool) error {
	o, err := l.observe(byReply)
	if err != nil {
		return err
	}
	defer o.close()
	f, err := l.naive(ctx, false, oneByOne, o.inbox())
	if err != nil {
		return err
	}
	work, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- f.run(work) }()
	n := l.set.paced()
	p := &load{sql: f.sql(insertOne), subject: f.stream}
	m.start()
	err = p.play(ctx, l, n, l.set.Rate)
	m.stop(n)
	rest(ctx, settle)
	cancel()
	err = errors.Join(err, <-ended)
	if err == nil {
		err = l.floorDelays(ctx, m, o, f, p)
	}
	return errors.Join(err, f.remove(ctx))
}

// floorDelays takes the latencies of what a naive relay found.
func (l *lab) floorDelays(ctx context.Context, m *meter, o *observer, f *naive, p *load) error {
	acks, err := o.acked(ctx, f.sent, lateWait)
	if err != nil {
		return fmt.Errorf("floor: %w", err)
	}
	l.lost(m, len(p.committed), f.sent)
	m.latencies(delays(p.committed, func(i int) time.Time { return acks[int64(i)] }))
	return nil
}

// lost notes how much a naive relay did not find.
func (l *lab) lost(m *meter, committed, found int) {
	if found < committed {
		m.value("lost", float64(committed-found))
		l.note("the floor lost events, as a loop does that remembers an id: they committed after one with a higher id")
	}
}
