package bench

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"
)

// relays measures several outboxes at once. It exists for its curve, and "all" does not include it.
func relays() *Scenario {
	return &Scenario{
		Name: "relays", Short: "rate of several outboxes on one NATS",
		Title:    "publish the backlogs of several outboxes, each with a relay and a stream on the same NATS, compared with the same number of async publishers",
		alone:    true,
		needs:    []string{procPostgres, procNATS},
		defaults: Settings{Runs: 5, Events: 200_000, Payload: 200, Replicas: 1, Batch: 4096, Window: 8192, Instances: 2},
		open: func(_ context.Context, s *session) (*comparison, error) {
			return &comparison{arms: []arm{{"async publish", s.relaysFloor}, {oursArm, s.relaysOurs}}}, nil
		},
	}
}

// relaysFloor runs a publisher for each stream. Settings.Events is the number of events of each one.
func (s *session) relaysFloor(ctx context.Context, m *meter) error {
	all := make([]*messages, s.set.Instances)
	streams := make([]string, s.set.Instances)
	for i := range all {
		stream, err := s.newStream(ctx)
		if err != nil {
			return err
		}
		streams[i], all[i] = stream, newMessages(stream, s.set.Events, s.set.Payload)
	}
	group, work := errgroup.WithContext(ctx)
	m.start()
	for _, messages := range all {
		group.Go(func() error { return publishAsync(work, s, messages) })
	}
	err := group.Wait()
	m.stop(s.set.Instances * s.set.Events)
	for _, stream := range streams {
		err = errors.Join(err, s.checkMessages(ctx, stream, s.set.Events), s.js.DeleteStream(ctx, stream))
	}
	return err
}

func (s *session) relaysOurs(ctx context.Context, m *meter) error {
	environments := make([]*environment, s.set.Instances)
	for i := range environments {
		env, err := s.newEnvironment(ctx)
		if err != nil {
			return err
		}
		if err := env.fill(ctx, s.set.Events); err != nil {
			return err
		}
		environments[i] = env
	}
	var running []*runningRelay
	stop := func() (err error) {
		for _, r := range running {
			err = errors.Join(err, r.stop())
		}
		return err
	}
	m.start()
	for _, env := range environments {
		r, err := env.startRelay(ctx)
		if err != nil {
			return errors.Join(err, stop())
		}
		running = append(running, r)
	}
	var err error
	for _, r := range running {
		err = errors.Join(err, r.awaitPublished(ctx, s.set.Events))
	}
	m.stop(s.set.Instances * s.set.Events)
	err = errors.Join(err, stop())
	for _, env := range environments {
		err = errors.Join(err, env.remove(ctx))
	}
	return err
}
