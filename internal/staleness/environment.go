package staleness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/faultnet"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// An environment is the servers of one arm, their clients, and the processes of outbox. It belongs to the goroutine of the
// arm. While the load runs, only injectFaults changes relay, invalidator, redis and probes.
type environment struct {
	arm Arm
	cfg *Config
	dir string

	postgres, standby *devstack.Postgres
	nats              *devstack.NATS
	redis             *devstack.Redis
	master            *endpoint       // the address of the Redis master
	link              *faultnet.Proxy // between the invalidator and master

	pool, reads *pgxpool.Pool // of the primary; of the server that readers use
	conn        *nats.Conn
	js          jetstream.JetStream
	rdb         *redis.Client // of the readers and writers
	table       *table.Table

	relay, invalidator *program
	probes             int    // events inserted by catchUp
	loadBefore         string // load average of the machine before the arm started
	closers            []func() error
}

func openEnvironment(ctx context.Context, arm Arm, cfg *Config) (e *environment, err error) {
	e = &environment{arm: arm, cfg: cfg}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	if e.dir, err = os.MkdirTemp("", "outbox-staleness"); err != nil {
		return e, err
	}
	e.onClose(func() error { return os.RemoveAll(e.dir) })
	steps := []func(context.Context) error{e.openPostgres, e.openNATS, e.openRedis, e.openReads, e.startPrograms}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return e, fmt.Errorf("set up servers: %w", err)
		}
	}
	return e, nil
}

// onClose adds a function that close calls.
func (e *environment) onClose(end func() error) { e.closers = append(e.closers, end) }

// close stops and removes everything, in reverse order.
func (e *environment) close() error {
	var errs []error
	for i := len(e.closers) - 1; i >= 0; i-- {
		errs = append(errs, e.closers[i]())
	}
	e.closers = nil
	return errors.Join(errs...)
}

func (e *environment) openPostgres(ctx context.Context) (err error) {
	if e.postgres, err = devstack.StartPostgres(ctx, devstack.PostgresConfig{Settings: map[string]string{"max_wal_size": "4GB"}}); err != nil {
		return err
	}
	e.onClose(e.postgres.Close)
	if e.pool, err = e.openPool(ctx, e.postgres, e.cfg.Writers+4); err != nil {
		return err
	}
	if e.table, err = table.In(outbox.DefaultSchema); err != nil {
		return err
	}
	_, err = e.pool.Exec(ctx, "CREATE TABLE acct (id int PRIMARY KEY, version int NOT NULL DEFAULT 0) WITH (fillfactor = 50)")
	if err != nil {
		return fmt.Errorf("create table: %w", err)
	}
	if _, err = e.pool.Exec(ctx, "INSERT INTO acct SELECT generate_series(0, $1::int - 1)", e.cfg.Rows); err != nil {
		return fmt.Errorf("fill table: %w", err)
	}
	if e.arm.Method != byEvents {
		return nil
	}
	if _, err = e.table.Migrate(ctx, e.pool); err != nil {
		return err
	}
	_, err = e.table.Attach(ctx, e.pool, outbox.Attachment{Table: "acct", Subject: subject + ".{id}.updated", Operations: []outbox.Operation{outbox.OpUpdate}}, 10*time.Second)
	return err
}

func (e *environment) openPool(ctx context.Context, server *devstack.Postgres, conns int) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(server.URL())
	if err != nil {
		return nil, fmt.Errorf("open pool: %w", err)
	}
	config.MaxConns = int32(conns)                                // #nosec G115 -- a handful
	config.ConnConfig.RuntimeParams["synchronous_commit"] = "off" // only for the application, not for the relay
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open pool: %w", err)
	}
	e.onClose(func() error { pool.Close(); return nil })
	return pool, nil
}

// openReads connects the readers to the primary or to a replica with lag.
func (e *environment) openReads(ctx context.Context) (err error) {
	from := e.postgres
	if e.arm.Lag > 0 {
		if e.standby, err = e.postgres.Standby(ctx); err != nil {
			return err
		}
		e.onClose(e.standby.Close)
		from = e.standby
	}
	if e.reads, err = e.openPool(ctx, from, 16); err != nil || e.arm.Lag == 0 {
		return err
	}
	for _, statement := range []string{
		fmt.Sprintf("ALTER SYSTEM SET recovery_min_apply_delay = '%dms'", e.arm.Lag.Milliseconds()),
		"ALTER SYSTEM SET max_standby_streaming_delay = -1", // a vacuum of the primary must not cancel queries of readers
		"SELECT pg_reload_conf()",
	} {
		if _, err := e.reads.Exec(ctx, statement); err != nil {
			return fmt.Errorf("delay the replica: %w", err)
		}
	}
	return nil
}

func (e *environment) openNATS(ctx context.Context) (err error) {
	if e.nats, err = devstack.StartNATS(devstack.NATSConfig{}); err != nil {
		return err
	}
	e.onClose(e.nats.Close)
	e.conn, err = nats.Connect(e.nats.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // the experiment itself causes the errors
	if err != nil {
		return fmt.Errorf("connect to nats: %w", err)
	}
	e.onClose(func() error { e.conn.Close(); return nil })
	if e.js, err = jetstream.New(e.conn); err != nil {
		return fmt.Errorf("use jetstream: %w", err)
	}
	_, err = e.js.CreateStream(ctx, jetstream.StreamConfig{Name: stream, Subjects: []string{subject + ".>", event.ParkedPrefix + stream}, Duplicates: time.Second})
	if err != nil {
		return fmt.Errorf("create stream: %w", err)
	}
	return nil
}

func (e *environment) openRedis(ctx context.Context) (err error) {
	if e.redis, err = devstack.StartRedis(ctx, devstack.RedisConfig{}); err != nil {
		return err
	}
	e.onClose(func() error { return e.redis.Close() }) // the master at that time
	if e.master, err = listenFor(redisAddr(e.redis)); err != nil {
		return err
	}
	e.onClose(e.master.close)
	if e.link, err = faultnet.Listen(e.master.listener.Addr().String()); err != nil {
		return err
	}
	e.onClose(e.link.Close)
	e.rdb = redis.NewClient(&redis.Options{
		Addr: "master", Dialer: e.master.dial, PoolSize: 32, MaxRetries: -1, ContextTimeoutEnabled: true,
		DialTimeout: 500 * time.Millisecond, ReadTimeout: 500 * time.Millisecond, WriteTimeout: 500 * time.Millisecond,
	})
	e.onClose(e.rdb.Close)
	return nil
}

func redisAddr(r *devstack.Redis) string {
	return strings.TrimSuffix(strings.TrimPrefix(r.URL(), "redis://"), "/0")
}

func (e *environment) startPrograms(ctx context.Context) error {
	if e.arm.Method != byEvents {
		return nil
	}
	if err := os.WriteFile(filepath.Join(e.dir, "rules.yaml"), e.arm.rules(), 0o600); err != nil {
		return err
	}
	e.onClose(func() error {
		for _, p := range []*program{e.relay, e.invalidator} {
			if p != nil {
				p.Kill()
			}
		}
		return nil
	})
	if err := errors.Join(e.startRelay(), e.startInvalidator()); err != nil {
		return err
	}
	return e.catchUp(ctx)
}

func (e *environment) startRelay() (err error) {
	e.relay, err = e.outbox("relay", "--subjects", subject+".>", "--name", "staleness", "--ack-wait", "1s")
	return err
}

func (e *environment) startInvalidator() (err error) {
	e.invalidator, err = e.outbox("invalidate", append([]string{"--rules", filepath.Join(e.dir, "rules.yaml"), "--ack-wait", "2s"}, e.arm.flags()...)...)
	return err
}

func (e *environment) outbox(verb string, flags ...string) (*program, error) {
	env := []string{
		"DATABASE_URL=" + e.postgres.URL(), "NATS_URL=" + e.nats.URL(), "REDIS_URL=redis://" + e.link.Addr() + "/0", "OUTBOX_STREAM=" + stream,
	}
	return startProgram(env, e.cfg.Program, verb, flags...)
}
