// Package dev starts the servers that a benchmark measures when it has none of its own: PostgreSQL with fsync, Redis, and
// NATS in a process of its own, so that the CPU time of NATS is counted apart from that of the relay.
//
// NATS is a library here, so that process is the program itself, started once more: a program that calls [Start] with its own
// command line must call [Serve] first thing when [Serving] returns a name.
package dev

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/bench"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
)

// Start starts the servers, with fsync on in PostgreSQL, and logs to log. child is the command line of a program that calls
// Serve, usually the running one; if it is empty, NATS runs in this process. The caller must call stop, which is never nil,
// even after an error.
func Start(ctx context.Context, child []string, log io.Writer) (s *bench.Servers, stop func() error, err error) {
	var closers []func() error
	stop = func() (err error) {
		for i := len(closers) - 1; i >= 0; i-- {
			err = errors.Join(err, closers[i]())
		}
		closers = nil
		return err
	}
	pg, err := devstack.StartPostgres(ctx, devstack.PostgresConfig{Fsync: true, Log: log})
	if err != nil {
		return nil, stop, err
	}
	closers = append(closers, pg.Close)
	cache, err := devstack.StartRedis(ctx, devstack.RedisConfig{Log: log})
	if err != nil {
		return nil, stop, err
	}
	closers = append(closers, cache.Close)
	start := func(kind string) (bench.Dial, string, int, error) {
		server, err := startProcess(child, kind)
		if err != nil {
			return nil, "", 0, err
		}
		closers = append(closers, server.stop)
		return func(name string, options ...nats.Option) (*nats.Conn, error) {
			return nats.Connect(server.url, append(options, nats.Name(name))...)
		}, server.url, server.pid, nil
	}
	s = &bench.Servers{Notes: []string{"servers started for the run; PostgreSQL with fsync on, NATS with its default sync interval of 2 minutes"}}
	var natsURL string
	if s.NATS, natsURL, s.NATSPID, err = start(serveNATS); err != nil {
		return nil, stop, err
	}
	s.Cluster = func() (dial bench.Dial, err error) {
		dial, _, s.ClusterPID, err = start(serveCluster)
		s.Cluster = func() (bench.Dial, error) { return dial, err }
		return dial, err
	}
	if s.Postgres, err = pgxpool.ParseConfig(pg.URL()); err != nil {
		return nil, stop, fmt.Errorf("open pool: %w", err)
	}
	options, err := redis.ParseURL(cache.URL())
	if err != nil {
		return nil, stop, fmt.Errorf("open redis: %w", err)
	}
	client := redis.NewClient(options)
	closers = append(closers, client.Close)
	s.Redis = client
	s.Env = []string{"OUTBOX_DATABASE_URL=" + pg.URL(), "OUTBOX_NATS_URL=" + natsURL}
	return s, stop, nil
}
