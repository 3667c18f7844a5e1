package demo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/internal/wait"
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// An environment is the three servers, a client of each, and the names of everything that the demo creates on them.
type environment struct {
	postgres *devstack.Postgres
	nats     *devstack.NATS
	redis    *devstack.Redis
	given    bool // at least one server was given by URL: names are unique, and close removes everything they name

	pool  *pgxpool.Pool
	conn  *nats.Conn
	js    jetstream.JetStream
	rdb   *redis.Client
	table *table.Table

	schema  string // of the outbox
	home    string // schema of the application
	stream  string
	subject string // first tokens of every subject
	prefix  string // of every key in Redis
}

// An unavailableError is that of a server that is not available.
type unavailableError struct{ err error }

func (e *unavailableError) Error() string { return e.err.Error() }
func (e *unavailableError) Unwrap() error { return e.err }

// Unavailable reports whether an error of Run means that a server is not available: its program is not installed, it did not
// start, or the server given by URL does not answer.
func Unavailable(err error) bool {
	_, ok := errors.AsType[*unavailableError](err)
	return ok
}

// openEnvironment starts the servers that were not given by URL, and connects to all of them.
func openEnvironment(ctx context.Context, cfg *Config) (_ *environment, err error) {
	e := &environment{given: cfg.PostgresURL+cfg.NATSURL+cfg.RedisURL != ""}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.closeServers())
		}
	}()
	if err := e.start(ctx, cfg); err != nil {
		return nil, &unavailableError{err}
	}
	e.setNames()
	if e.table, err = table.In(e.schema); err != nil {
		return nil, err
	}
	if err := e.connect(ctx, cfg); err != nil {
		return nil, &unavailableError{err}
	}
	return e, nil
}

// start checks the given servers first, so that it starts nothing if one of them does not answer.
func (e *environment) start(ctx context.Context, cfg *Config) error {
	steps := []struct {
		url   string
		start func() error
	}{
		{cfg.PostgresURL, func() error { return e.startPostgres(ctx, cfg) }},
		{cfg.NATSURL, func() (err error) {
			e.nats, err = devstack.StartNATS(devstack.NATSConfig{URL: cfg.NATSURL, Log: cfg.Progress})
			return err
		}},
		{cfg.RedisURL, func() (err error) {
			e.redis, err = devstack.StartRedis(ctx, devstack.RedisConfig{URL: cfg.RedisURL, Log: cfg.Progress})
			return err
		}},
	}
	for _, given := range []bool{true, false} {
		for _, step := range steps {
			if given != (step.url != "") {
				continue
			}
			if err := step.start(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *environment) startPostgres(ctx context.Context, cfg *Config) (err error) {
	e.postgres, err = devstack.StartPostgres(ctx, devstack.PostgresConfig{
		URL: cfg.PostgresURL, Fsync: true, Log: cfg.Progress,
		Settings: map[string]string{"track_commit_timestamp": "on"}, // for the delays in the report
	})
	if err != nil {
		return err
	}
	_, err = e.postgres.Bin("pgbench")
	return err
}

// setNames chooses plain names on servers that belong to the demo, otherwise unique ones.
func (e *environment) setNames() {
	e.schema, e.home, e.stream, e.subject = outbox.DefaultSchema, "public", "OUTBOX", "accounts"
	if e.given {
		unique := fmt.Sprintf("outbox_demo_%05x", rand.N(1<<20))
		e.schema, e.home, e.stream, e.subject, e.prefix = unique, unique+"_app", strings.ToUpper(unique), unique+".accounts", unique+":"
	}
}

func (e *environment) connect(ctx context.Context, cfg *Config) error {
	config, err := pgxpool.ParseConfig(e.postgres.URL())
	if err != nil {
		return fmt.Errorf("open pool: %w", err)
	}
	config.MaxConns = int32(cfg.Readers + 4) // #nosec G115 -- at most 64
	config.ConnConfig.RuntimeParams["application_name"] = "outbox demo"
	if e.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return fmt.Errorf("open pool: %w", err)
	}
	options, err := redis.ParseURL(e.redis.URL())
	if err != nil {
		return fmt.Errorf("open redis: %w", err)
	}
	e.rdb = redis.NewClient(options)
	e.conn, err = nats.Connect(e.nats.URL(), nats.Name("outbox demo"),
		nats.MaxReconnects(-1), nats.ReconnectBufSize(-1), nats.ReconnectWait(100*time.Millisecond), nats.ReconnectJitter(0, 0),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // the default handler would print into the panel
	if err != nil {
		return fmt.Errorf("connect to nats: %w", err)
	}
	if e.js, err = jetstream.New(e.conn); err != nil {
		return fmt.Errorf("use jetstream: %w", err)
	}
	return nil
}

// attach creates the outbox and captures every change of an account.
func (e *environment) attach(ctx context.Context) error {
	if _, err := e.table.Migrate(ctx, e.pool); err != nil {
		return err
	}
	_, err := e.table.Attach(ctx, e.pool, outbox.Attachment{
		Table: e.accounts(), Subject: e.subject + ".{aid}.updated", Key: "{aid}", Operations: []outbox.Operation{"update"},
	}, 10*time.Second)
	return err
}

// accounts returns the quoted name of the table of accounts.
func (e *environment) accounts() string { return e.in("pgbench_accounts") }

// in returns the quoted name of a table of the application.
func (e *environment) in(tbl string) string { return pgx.Identifier{e.home, tbl}.Sanitize() }

// awaitStream waits until the relay has created the stream.
func (e *environment) awaitStream(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 20*time.Second, errors.New("the relay did not create the stream within 20 s"))
	defer cancel()
	return wait.Until(ctx, 20*time.Millisecond, func() (bool, error) {
		_, err := e.js.Stream(ctx, e.stream)
		if err == nil || errors.Is(err, jetstream.ErrStreamNotFound) {
			return err == nil, nil
		}
		return false, fmt.Errorf("await stream %s: %w", e.stream, err)
	})
}

func (e *environment) addresses() Addresses {
	return Addresses{
		PostgresURL: e.postgres.URL(), NATSURL: e.nats.URL(), RedisURL: e.redis.URL(),
		Schema: e.schema, Table: e.home + ".pgbench_accounts", Stream: e.stream,
	}
}
