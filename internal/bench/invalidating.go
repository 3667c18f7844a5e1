package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

var cacheServers = []string{procPostgres, procNATS, procRedis}

func invalidating() *Scenario {
	return &Scenario{
		Name: "invalidate", Short: "rate at which a backlog of the stream deletes keys",
		Title:    "a backlog of the stream deletes its keys, against consume with explicit acks and pipelines of UNLINK",
		needs:    cacheServers,
		defaults: Settings{Runs: 5, Events: 300_000, Payload: 200, Keys: 2, Replicas: 1, Window: 8192, Fleet: 1},
		targets:  []target{atLeast(perSecond, 0.85)},
		open:     openInvalidating,
	}
}

func fanOut() *Scenario {
	s := invalidating()
	s.Name, s.Short, s.Title = "fan-out", "the same with 100 keys for each event", "events that make many keys stale each, against the same consume and UNLINK"
	s.defaults.Events, s.defaults.Keys = 5_000, 100
	s.targets = nil
	return s
}

func openInvalidating(ctx context.Context, l *lab) (*bout, error) {
	stream, err := l.stream(ctx)
	if err != nil {
		return nil, err
	}
	if err := l.eventsIn(ctx, stream, l.set.Events); err != nil {
		return nil, err
	}
	set, err := l.rules(stream)
	if err != nil {
		return nil, err
	}
	return &bout{arms: []arm{
		{"consume, UNLINK", func(ctx context.Context, m *meter) error {
			return l.consumeAll(ctx, m, stream, l.consumeFloor)
		}},
		{oursArm, func(ctx context.Context, m *meter) error {
			return l.consumeAll(ctx, m, stream, func(ctx context.Context, stream, durable string, tell eviction) (func() error, error) {
				return l.invalidator(ctx, stream, durable, set, tell)
			})
		}},
	}}, nil
}

// consumeAll measures from the start of the consumers, Fleet of them, to the last key gone.
func (l *lab) consumeAll(ctx context.Context, m *meter, stream string, start func(context.Context, string, string, eviction) (func() error, error)) error {
	if err := l.fillKeys(ctx, l.set.Events); err != nil {
		return err
	}
	durable := fmt.Sprintf("bench-%d", l.made.Add(1))
	var mu sync.Mutex
	events, gone := 0, 0
	all := make(chan struct{})
	tell := func(keys []string, _ time.Time, deleted int) {
		mu.Lock()
		defer mu.Unlock()
		before := events
		events, gone = events+len(keys), gone+deleted
		if before < l.set.Events && events >= l.set.Events {
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
	for range l.set.Fleet {
		stop, err := start(ctx, stream, durable, tell)
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
	case <-time.After(runWait):
		err = fmt.Errorf("%d events of %d within %s", events, l.set.Events, runWait)
	}
	m.stop(l.set.Events)
	err = errors.Join(err, stopAll(), l.js.DeleteConsumer(context.WithoutCancel(ctx), stream, durable))
	if want := l.set.Events * l.set.Keys; err == nil && gone != want {
		err = fmt.Errorf("%d keys deleted, want %d", gone, want)
	}
	m.value("keys_per_second", float64(gone)/m.sample.Seconds)
	return err
}
