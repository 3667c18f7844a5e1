package bench

import (
	"context"
	"errors"
)

const oursArm = "ours"

func drain() *Scenario {
	return &Scenario{
		Name: "drain", Short: "rate at which a backlog is published",
		Title:    "a backlog, against async publish of as many messages with ids, payload and window like its",
		needs:    []string{procPostgres, procNATS},
		defaults: Settings{Runs: 5, Events: 1_000_000, Payload: 200, Replicas: 1, Batch: 4096, Window: 8192, Parts: 1},
		targets:  []target{atLeast(perSecond, 0.90), {metric: allocations, most: 6}},
		open:     openDrain,
	}
}

func drainR3() *Scenario {
	s := drain()
	s.Name, s.Short, s.Title = "drain-r3", "the same with three replicas of the stream", s.Title+", with three replicas of the stream"
	s.defaults.Replicas = 3
	s.targets = []target{atLeast(perSecond, 0.85)}
	return s
}

func openDrain(_ context.Context, l *lab) (*bout, error) {
	b := &bout{arms: []arm{
		{"async publish", func(ctx context.Context, m *meter) error { return l.publishFloor(ctx, m, publishAsync) }},
		{oursArm, l.drainOurs},
		{"publish by hand", func(ctx context.Context, m *meter) error { return l.publishFloor(ctx, m, publishByHand) }},
	}}
	for _, peer := range l.cfg.Peers {
		b.arms = append(b.arms, arm{peer.Name, func(ctx context.Context, m *meter) error { return l.drainPeer(ctx, m, peer) }})
	}
	return b, nil
}

// drainOurs measures from the start of a relay to the last ack.
func (l *lab) drainOurs(ctx context.Context, m *meter) error {
	s, err := l.station(ctx)
	if err != nil {
		return err
	}
	if l.set.Parts > 1 {
		if err := s.partition(ctx, l.set.Parts); err != nil {
			return err
		}
	}
	if err := s.fill(ctx, l.set.Events); err != nil {
		return err
	}
	m.start()
	r, err := s.relay(ctx)
	if err != nil {
		return err
	}
	err = r.published(ctx, l.set.Events)
	m.stop(l.set.Events)
	return errors.Join(err, r.stop(), s.remove(ctx))
}
