// Package dial connects a command to PostgreSQL, NATS and Redis according to its settings.
//
// For each server there are two ways: Postgres, NATS and Redis with Ping return only once the server answers, for a
// command that ends without it; Pool, KeepNATS and Redis return at once and connect in the background, for a command
// that runs on through outages. The first way tries again for as long as the setting wait allows.
//
// A connection to another machine must be encrypted, to a server whose certificate was verified. Otherwise the command
// does not connect: events and passwords would be exposed, and a forged ack would lose an event. The setting insecure
// allows it.
//
// Errors name the setting to change and never quote a URL, which may contain a password.
package dial

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/wait"
)

// Timeout bounds one attempt to connect where the URL sets no bound, and one request that a person waits for.
const Timeout = 5 * time.Second

// Within returns a context that ends after Timeout.
func Within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, Timeout)
}

// Await calls try until it succeeds, until the deadline of the settings, or until ctx ends. It tries once even after
// the deadline. A refusal ends it at once, because a password that is wrong now stays wrong. It logs once that it
// waits. All servers of a command share the deadline.
func Await(ctx context.Context, s *setting.Set, server string, try func() error) error {
	retry := backoff.NewExponentialBackOff(backoff.WithInitialInterval(50*time.Millisecond),
		backoff.WithMaxInterval(2*time.Second), backoff.WithMaxElapsedTime(0))
	for logged := false; ; logged = true {
		err := try()
		left := time.Until(s.Deadline)
		if err == nil || left <= 0 || !exit.IsUnavailable(err) {
			return err
		}
		if !logged {
			s.Log.Warn("server not available, retrying", "server", server, "wait", left.Round(time.Millisecond).String(), "err", err)
		}
		if wait.For(ctx, min(retry.NextBackOff(), left)) != nil {
			return errors.Join(err, context.Canceled)
		}
	}
}

// A Flaw is a reason why the settings of one server cannot be used. Prefix begins the keys of the settings at fault.
type Flaw struct {
	Prefix string
	Err    error
}

// Flaws checks the settings of all servers without connecting to any.
func Flaws(s *setting.Set) (flaws []Flaw) {
	add := func(prefix string, err error) {
		if err != nil {
			flaws = append(flaws, Flaw{prefix, err})
		}
	}
	if config, err := pgconn.ParseConfig(s.Text("database_url")); err != nil {
		add("database_url", badURL(s, "database_url", postgresURL))
	} else {
		add("database_", securePostgres(s, config))
	}
	_, err := secureNATS(s)
	if err != nil && !exit.IsUsage(err) || len(s.List("nats_url")) == 0 { // a parser's error may quote a password
		err = badURL(s, "nats_url", natsURL)
	}
	add("nats_", err)
	if options, err := parseRedis(s.Text("redis_url")); err != nil {
		add("redis_url", badURL(s, "redis_url", redisURL))
	} else {
		add("redis_", secureRedis(s, options))
	}
	return flaws
}

// The forms of URLs, without passwords, which redaction would remove.
const (
	postgresURL = "postgres://user@host:5432/database, or host=… dbname=…"
	natsURL     = "nats://host:4222 or tls://host:4222, several joined by commas"
	redisURL    = "redis://host:6379[/db], rediss://…, redis-cluster://h1:p,h2:p or redis-sentinel://h1:p,h2:p/master[/db]"
)

// badURL quotes neither the URL nor the error of a parser: both may contain a part of the password.
func badURL(s *setting.Set, key, want string) error {
	return exit.Usagef(nil, "%s: want %s; a URL must have special characters of the password as %%XX", s.Origin(key).From, want)
}
