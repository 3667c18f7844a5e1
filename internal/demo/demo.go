// Package demo runs the whole system under load and faults, and then counts whether it kept its promises.
//
// The application is PostgreSQL's own pgbench, which runs TPC-B and knows nothing of the outbox. A capture trigger on
// pgbench_accounts turns each of its transactions into an event. A relay, in a process of its own, publishes the events; an
// invalidator in this process deletes the keys that they make stale from Redis; readers fill Redis again with plain GET and
// SETEX. During the load the demo kills the relay with SIGKILL and restarts it, and stops and restarts the broker.
//
// At the end the demo compares the whole stream with the whole outbox table, and every cached value with its row. The report
// counts the events that were lost, stored twice or out of order, and the values that are stale.
//
// All servers are real (see devstack). A server given by URL is used as it is and is never stopped; the demo then uses unique
// names for its schemas, stream and keys, and removes them at the end.
package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Config configures a run. The zero value of a field means its default.
type Config struct {
	// URLs of running servers. The demo starts a server for each one that is empty.
	PostgresURL, NATSURL, RedisURL string

	Duration time.Duration // of the load, rounded up to seconds: 6 s to 1 h. Defaults to 30 s
	Clients  int           // of pgbench, at most 100. Defaults to 4
	Rate     int           // target of pgbench in transactions a second. Defaults to 400
	Scale    int           // of pgbench: 100,000 accounts each, at most 100. Defaults to 1
	Readers  int           // goroutines that read through the cache, at most 64. Defaults to 4
	TTL      time.Duration // of a cached value, at least 1 s. Defaults to 1 h

	// Relay is the path of a program with the verb relay. Defaults to this program.
	Relay string
	// Progress receives the live panel if it is a terminal, otherwise a line every 2 s. Defaults to io.Discard.
	Progress io.Writer
	// NoColor draws the panel without colors.
	NoColor bool
	// Keep, if set, is called with the report while servers, relay and invalidator still run. The demo ends when it returns.
	Keep func(context.Context, *Report, Addresses) error
}

// Addresses are those of the servers, and the names that the demo uses on them.
type Addresses struct{ PostgresURL, NATSURL, RedisURL, Schema, Table, Stream string }

// Run runs the demo and returns its report, which also counts broken promises: they are not an error. When ctx ends, Run
// stops and removes everything and returns the cause of ctx, joined with an error for anything that it could not remove. See
// [Unavailable].
func Run(ctx context.Context, cfg Config) (report *Report, err error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, fmt.Errorf("run demo: %w", err)
	}
	env, err := openEnvironment(ctx, &cfg)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("run demo: %w", err)
	}
	defer func() {
		if closeErr := env.close(); closeErr != nil {
			err = errors.Join(err, fmt.Errorf("clean up demo: %w", closeErr))
		}
	}()
	r := newRun(&cfg, env)
	if err = r.prepare(ctx); err == nil {
		report, err = r.execute(ctx)
	}
	switch {
	case report == nil && ctx.Err() != nil:
		return nil, context.Cause(ctx) // the reason for any other error
	case err != nil:
		return nil, fmt.Errorf("run demo: %w", err)
	}
	return report, nil
}

// Check returns an error if a value is out of range. Run checks them as well.
func (c Config) Check() error { return c.setDefaults() }

func (c *Config) setDefaults() error {
	c.Duration = cmp.Or(c.Duration, 30*time.Second)
	c.Duration = (c.Duration + time.Second - 1).Truncate(time.Second)
	c.Clients, c.Rate, c.Scale, c.Readers = cmp.Or(c.Clients, 4), cmp.Or(c.Rate, 400), cmp.Or(c.Scale, 1), cmp.Or(c.Readers, 4)
	c.TTL = cmp.Or(c.TTL, time.Hour)
	c.Progress = cmp.Or(c.Progress, io.Discard)
	switch {
	case c.Duration < 6*time.Second || c.Duration > time.Hour:
		return fmt.Errorf("duration %v: want 6s to 1h", c.Duration)
	case c.Clients < 1 || c.Clients > 100:
		return fmt.Errorf("%d clients: want 1 to 100", c.Clients)
	case c.Rate < 1 || c.Rate > 100_000:
		return fmt.Errorf("rate %d: want 1 to 100000 transactions a second", c.Rate)
	case c.Scale < 1 || c.Scale > 100:
		return fmt.Errorf("scale %d: want 1 to 100", c.Scale)
	case c.Readers < 1 || c.Readers > 64:
		return fmt.Errorf("%d readers: want 1 to 64", c.Readers)
	case c.TTL < time.Second:
		return fmt.Errorf("ttl %v: want at least 1s", c.TTL)
	}
	return nil
}
