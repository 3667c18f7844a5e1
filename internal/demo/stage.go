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
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// A stage is the three servers, a client of each, and the names of all that the demo makes on them.
type stage struct {
	postgres *devstack.Postgres
	nats     *devstack.NATS
	redis    *devstack.Redis
	given    bool // at least one server is not ours: names are unique, and what they name is removed

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

// unavailableError marks the error of a server that could not be had.
type unavailableError struct{ err error }

func (e *unavailableError) Error() string { return e.err.Error() }
func (e *unavailableError) Unwrap() error { return e.err }

// Unavailable says whether an error of Run means that a server could not be had: its program is not installed, it
// did not start, or the one given by URL does not answer.
func Unavailable(err error) bool {
	_, ok := errors.AsType[*unavailableError](err)
	return ok
}

// openStage starts or finds the servers and connects to them.
func openStage(ctx context.Context, cfg *Config) (_ *stage, err error) {
	s := &stage{given: cfg.PostgresURL+cfg.NATSURL+cfg.RedisURL != ""}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.closeServers())
		}
	}()
	if err := s.start(ctx, cfg); err != nil {
		return nil, &unavailableError{err}
	}
	s.name()
	if s.table, err = table.In(s.schema); err != nil {
		return nil, err
	}
	if err := s.connect(ctx, cfg); err != nil {
		return nil, &unavailableError{err}
	}
	return s, nil
}

// start takes what was given first: one that does not answer is said before anything is started.
func (s *stage) start(ctx context.Context, cfg *Config) error {
	steps := []struct {
		url   string
		start func() error
	}{
		{cfg.PostgresURL, func() error { return s.startPostgres(ctx, cfg) }},
		{cfg.NATSURL, func() (err error) {
			s.nats, err = devstack.StartNATS(devstack.NATSConfig{URL: cfg.NATSURL, Log: cfg.Progress})
			return err
		}},
		{cfg.RedisURL, func() (err error) {
			s.redis, err = devstack.StartRedis(ctx, devstack.RedisConfig{URL: cfg.RedisURL, Log: cfg.Progress})
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

func (s *stage) startPostgres(ctx context.Context, cfg *Config) (err error) {
	s.postgres, err = devstack.StartPostgres(ctx, devstack.PostgresConfig{
		URL: cfg.PostgresURL, Fsync: true, Log: cfg.Progress,
		Settings: map[string]string{"track_commit_timestamp": "on"}, // for the delays in the report
	})
	if err != nil {
		return err
	}
	_, err = s.postgres.Bin("pgbench")
	return err
}

func (s *stage) name() {
	s.schema, s.home, s.stream, s.subject = outbox.DefaultSchema, "public", "OUTBOX", "accounts"
	if s.given {
		unique := fmt.Sprintf("outbox_demo_%05x", rand.N(1<<20))
		s.schema, s.home, s.stream, s.subject, s.prefix = unique, unique+"_app", strings.ToUpper(unique), unique+".accounts", unique+":"
	}
}

func (s *stage) connect(ctx context.Context, cfg *Config) error {
	config, err := pgxpool.ParseConfig(s.postgres.URL())
	if err != nil {
		return fmt.Errorf("open pool: %w", err)
	}
	config.MaxConns = int32(cfg.Readers + 4) // #nosec G115 -- at most 64
	config.ConnConfig.RuntimeParams["application_name"] = "outbox demo"
	if s.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return fmt.Errorf("open pool: %w", err)
	}
	options, err := redis.ParseURL(s.redis.URL())
	if err != nil {
		return fmt.Errorf("open redis: %w", err)
	}
	s.rdb = redis.NewClient(options)
	s.conn, err = nats.Connect(s.nats.URL(), nats.Name("outbox demo"),
		nats.MaxReconnects(-1), nats.ReconnectBufSize(-1), nats.ReconnectWait(100*time.Millisecond), nats.ReconnectJitter(0, 0),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // its own would print into the panel
	if err != nil {
		return fmt.Errorf("connect to nats: %w", err)
	}
	if s.js, err = jetstream.New(s.conn); err != nil {
		return fmt.Errorf("use jetstream: %w", err)
	}
	return nil
}

// attach makes the outbox and has every change of an account captured.
func (s *stage) attach(ctx context.Context) error {
	if _, err := s.table.Migrate(ctx, s.pool); err != nil {
		return err
	}
	_, err := s.table.Attach(ctx, s.pool, outbox.Attachment{
		Table: s.accounts(), Subject: s.subject + ".{aid}.updated", Key: "{aid}", Operations: []outbox.Operation{outbox.OpUpdate},
	}, 10*time.Second)
	return err
}

// accounts is the table of accounts as SQL names it.
func (s *stage) accounts() string { return s.in("pgbench_accounts") }

func (s *stage) in(tbl string) string { return pgx.Identifier{s.home, tbl}.Sanitize() }

// awaitStream returns when the relay has made the stream.
func (s *stage) awaitStream(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 20*time.Second, errors.New("the relay did not make it within 20 s"))
	defer cancel()
	return poll(ctx, 20*time.Millisecond, func() (bool, error) {
		_, err := s.js.Stream(ctx, s.stream)
		if err == nil || errors.Is(err, jetstream.ErrStreamNotFound) {
			return err == nil, nil
		}
		return false, fmt.Errorf("await stream %s: %w", s.stream, err)
	})
}

// poll looks at once and then every so often, until a look says yes or fails, or ctx ends.
func poll(ctx context.Context, every time.Duration, look func() (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		done, err := look()
		if done || ctx.Err() == nil && err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *stage) addresses() Addresses {
	return Addresses{
		PostgresURL: s.postgres.URL(), NATSURL: s.nats.URL(), RedisURL: s.redis.URL(),
		Schema: s.schema, Table: s.home + ".pgbench_accounts", Stream: s.stream,
	}
}

// versions asks each server for its own.
func (s *stage) versions(ctx context.Context) (Versions, error) {
	v := Versions{NATS: s.conn.ConnectedServerVersion()}
	if err := s.pool.QueryRow(ctx, "SELECT split_part(current_setting('server_version'), ' ', 1)").Scan(&v.Postgres); err != nil {
		return v, fmt.Errorf("ask postgres for its version: %w", err)
	}
	info, err := s.rdb.Info(ctx, "server").Result()
	if err != nil {
		return v, fmt.Errorf("ask redis for its version: %w", err)
	}
	_, rest, _ := strings.Cut(info, "redis_version:")
	v.Redis, _, _ = strings.Cut(rest, "\r\n")
	return v, nil
}
