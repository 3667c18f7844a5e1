package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/invalidate/replicas"
)

// A gate holds echoes back until replicas of the database have caught up.
type gate struct {
	replicas *replicas.Watch
	close    func()
}

// openGate begins to watch the replicas that --echo-replicas names; nil if it names none.
func openGate(c *cli.Context, s settings, log *slog.Logger) (*gate, error) {
	names := s.list("invalidate.echo_replicas")
	if len(names) == 0 {
		return nil, nil
	}
	_, pool, err := connectTable(c, s)
	if err != nil {
		return nil, err
	}
	watch := replicas.New(pool, names...)
	if err := watch.Poll(c.Context); err != nil {
		pool.Close()
		return nil, err
	}
	ctx, cancel := context.WithCancel(c.Context)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err := watch.Run(ctx, func(err error) { log.Warn("cannot see how far the replicas are, echoes wait for them", "err", err) })
		if err != nil && !errors.Is(err, context.Canceled) {
			log.Error("no longer looking at the replicas, each echo waits 30 s", "err", err)
		}
	}()
	return &gate{replicas: watch, close: func() { cancel(); <-ended; pool.Close() }}, nil
}
