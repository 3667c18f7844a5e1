package bench

import (
	"context"
	"errors"
)

func drain() *Scenario {
	return &Scenario{
		Name: "drain", Short: "rate of publishing a backlog",
		Title:    "publish a backlog, compared with the client's async publish of messages with the same ids, payload and window",
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

func openDrain(_ context.Context, s *session) (*comparison, error) {
	c := &comparison{arms: []arm{
		{"async publish", func(ctx context.Context, m *meter) error { return s.publishFloor(ctx, m, publishAsync) }},
		{oursArm, s.drainOurs},
		{"minimal publish", func(ctx context.Context, m *meter) error { return s.publishFloor(ctx, m, publishMinimal) }},
	}}
	for _, peer := range s.cfg.Peers {
		c.arms = append(c.arms, arm{peer.Name, func(ctx context.Context, m *meter) error { return s.drainPeer(ctx, m, peer) }})
	}
	return c, nil
}

func (s *session) drainOurs(ctx context.Context, m *meter) error {
	env, err := s.newEnvironment(ctx)
	if err != nil {
		return err
	}
	if err := env.fill(ctx, s.set.Events); err != nil {
		return err
	}
	return errors.Join(env.drain(ctx, m, s.set.Events), env.remove(ctx))
}
