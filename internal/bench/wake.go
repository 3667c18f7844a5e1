package bench

import (
	"context"
	"errors"
	"time"
)

func wake() *Scenario {
	return &Scenario{
		Name: "wake", Short: "latency of one event after a pause",
		Title:    "one event after a pause, from its commit to the ack of the stream, against a notification of each commit, a look and a publish",
		needs:    []string{procPostgres, procNATS},
		defaults: Settings{Runs: 5, Events: 200, Payload: 200, Clients: 1, Replicas: 1, Batch: 4096, Window: 8192, Parts: 1},
		targets:  []target{atMost(p50, 1.5)},
		open: func(_ context.Context, l *lab) (*bout, error) {
			return &bout{arms: []arm{{"notify, look, publish", l.wakeFloor}, {oursArm, l.wakeOurs}}}, nil
		},
	}
}

// wakePause is how long nothing happens before an event.
const wakePause = 25 * time.Millisecond

func (l *lab) wakeOurs(ctx context.Context, m *meter) error {
	s, err := l.station(ctx)
	if err != nil {
		return err
	}
	if l.set.Parts > 1 {
		if err := s.partition(ctx, l.set.Parts); err != nil {
			return err
		}
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
	before := 0
	err = r.asleep(ctx)
	if err == nil { // what partition has left is published
		before = int(r.Stats().Position)
		p := &load{sql: s.table.SQL(insertOne), subject: s.stream}
		err = l.oneAtATime(ctx, m, o, p, before, func(ctx context.Context) error { rest(ctx, wakePause); return r.asleep(ctx) })
	}
	return errors.Join(err, r.stop(), s.remove(ctx))
}

func (l *lab) wakeFloor(ctx context.Context, m *meter) error {
	o, err := l.observe(byReply)
	if err != nil {
		return err
	}
	defer o.close()
	f, err := l.naive(ctx, true, true, o.inbox())
	if err != nil {
		return err
	}
	work, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- f.run(work) }()
	p := &load{sql: f.sql(naiveNotify), subject: f.stream}
	err = l.oneAtATime(ctx, m, o, p, -1, func(ctx context.Context) error { rest(ctx, wakePause); return ctx.Err() })
	cancel()
	return errors.Join(err, <-ended, f.remove(ctx))
}

// oneAtATime commits an event, waits for its ack, lets everything fall asleep, and again. first is the number of the ack
// before the first one.
func (l *lab) oneAtATime(ctx context.Context, m *meter, o *observer, p *load, first int, pause func(context.Context) error) error {
	all := make([]time.Duration, 0, l.set.Events)
	seen := o.count()
	m.start()
	for i := range l.set.Events {
		if err := pause(ctx); err != nil {
			return err
		}
		one := &load{sql: p.sql, subject: p.subject, from: i}
		if err := one.play(ctx, l, 1, 0); err != nil {
			return err
		}
		acks, err := o.acked(ctx, seen+i+1, lateWait)
		if err != nil {
			return err
		}
		all = append(all, max(0, acks[int64(first+1+i)].Sub(one.committed[0])))
	}
	m.stop(l.set.Events)
	m.latencies(all)
	return nil
}
