package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

var cacheServers = []string{procPostgres, procNATS, procRedis}

func invalidation() *Scenario {
	return &Scenario{
		Name: "invalidate", Short: "rate of deleting the keys of a backlog",
		Title:    "delete the keys of a backlog in the stream, compared with a consumer with explicit acks and pipelines of UNLINK",
		needs:    cacheServers,
		defaults: Settings{Runs: 5, Events: 300_000, Payload: 200, Keys: 2, Replicas: 1, Window: 8192, Instances: 1},
		targets:  []target{atLeast(perSecond, 0.85)},
		open:     openInvalidation,
	}
}

func fanOut() *Scenario {
	s := invalidation()
	s.Name, s.Short, s.Title = "fan-out", "the same with 100 keys per event", "delete many keys per event, compared with the same consumer and UNLINK"
	s.defaults.Events, s.defaults.Keys = 5_000, 100
	s.targets = nil
	return s
}

// A startConsuming starts one consumer that deletes the keys of the events of a stream.
type startConsuming func(ctx context.Context, stream, durable string, done onDeleted) (stop func() error, err error)

func openInvalidation(ctx context.Context, s *session) (*comparison, error) {
	stream, err := s.newStream(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.publishEvents(ctx, stream, s.set.Events); err != nil {
		return nil, err
	}
	set, err := s.rules(stream)
	if err != nil {
		return nil, err
	}
	invalidator := func(ctx context.Context, stream, durable string, done onDeleted) (func() error, error) {
		return s.startInvalidator(ctx, stream, durable, set, done)
	}
	return &comparison{arms: []arm{
		{"consume, UNLINK", func(ctx context.Context, m *meter) error { return s.consumeAll(ctx, m, stream, s.startConsumer) }},
		{oursArm, func(ctx context.Context, m *meter) error { return s.consumeAll(ctx, m, stream, invalidator) }},
	}}, nil
}

// consumeAll measures from the start of Settings.Instances consumers until they have deleted every key.
func (s *session) consumeAll(ctx context.Context, m *meter, stream string, start startConsuming) error {
	if err := s.fillKeys(ctx, s.set.Events); err != nil {
		return err
	}
	durable := fmt.Sprintf("bench-%d", s.created.Add(1))
	var mu sync.Mutex
	events, deleted := 0, 0
	all := make(chan struct{})
	done := func(keys []string, _ time.Time, existed int) {
		mu.Lock()
		defer mu.Unlock()
		before := events
		events, deleted = events+len(keys), deleted+existed
		if before < s.set.Events && events >= s.set.Events {
			close(all)
		}
	}
	var stops []func() error
	stopAll := func() (err error) {
		for _, stop := range stops {
			err = errors.Join(err, stop())
		}
		return err
	}
	m.start()
	for range s.set.Instances {
		stop, err := start(ctx, stream, durable, done)
		if err != nil {
			return errors.Join(err, stopAll())
		}
		stops = append(stops, stop)
	}
	var err error
	select {
	case <-all:
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(runTimeout):
		err = fmt.Errorf("not all %d events were consumed within %s", s.set.Events, runTimeout)
	}
	m.stop(s.set.Events)
	err = errors.Join(err, stopAll(), s.js.DeleteConsumer(context.WithoutCancel(ctx), stream, durable))
	if want := s.set.Events * s.set.Keys; err == nil && deleted != want {
		err = fmt.Errorf("%d keys deleted, want %d", deleted, want)
	}
	m.value(keysPerSecond, float64(deleted)/m.sample.Seconds)
	return err
}
