package demo

import (
	"context"
	"time"
)

// A sampler measures, four times a second, how many events are committed, published and evicted.
type sampler struct {
	run       *run
	published int64 // last known value
}

const sampleInterval = 250 * time.Millisecond

// Run samples until ctx ends. While the broker is not available it uses the last known end of the stream.
func (s *sampler) Run(ctx context.Context) error {
	tick := time.NewTicker(sampleInterval)
	defer tick.Stop()
	for {
		if err := s.sample(ctx); err != nil {
			return nilIfEnded(ctx, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// sample reads the stream before the table, so that it never misses a pending event.
func (s *sampler) sample(ctx context.Context) error {
	env := s.run.env
	began, evicted := time.Now(), s.run.evicts.events.Load()
	if published, ok := env.published(ctx); ok {
		s.published = published
	}
	status, err := env.table.Status(ctx, env.pool, env.stream)
	if err != nil {
		return err
	}
	committed := status.Acked + status.Pending
	var lag time.Duration
	if last := s.run.watcher.last.Load(); committed > s.published && last != 0 {
		lag = time.Since(time.Unix(0, last))
	}
	s.run.state.measure(began, committed, s.published, evicted, lag)
	return nil
}

// published returns the number of messages in the stream; false while the broker is not available.
func (e *environment) published(ctx context.Context) (int64, bool) {
	if !e.conn.IsConnected() {
		return 0, false
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	stream, err := e.js.Stream(ctx, e.stream)
	if err != nil {
		return 0, false
	}
	return int64(stream.CachedInfo().State.Msgs), true // #nosec G115
}
