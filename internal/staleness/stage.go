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

// A stage is the servers of one arm, clients of them, and the programs that run. It belongs to the goroutine of the arm;
// while the load runs, faults are its only other user and change relay, invalidator, redis and probes.
type stage struct {
	arm Arm
	cfg *Config
	dir string

	postgres, standby *devstack.Postgres
	nats              *devstack.NATS
	redis             *devstack.Redis
	cache             *address        // where the master of Redis is
	link              *faultnet.Proxy // between the invalidator and cache

	pool, reads *pgxpool.Pool // of the primary; of what readers ask
	conn        *nats.Conn
	js          jetstream.JetStream
	rdb         *redis.Client // of the readers and writers
	table       *table.Table

	relay, invalidator *program
	probes             int    // events that are no update
	busy               string // load of the machine before
	closers            []func() error
}

func openStage(ctx context.Context, arm Arm, cfg *Config) (s *stage, err error) {
	s = &stage{arm: arm, cfg: cfg}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.dir, err = os.MkdirTemp("", "outbox-staleness"); err != nil {
		return s, err
	}
	s.later(func() error { return os.RemoveAll(s.dir) })
	steps := []func(context.Context) error{s.openPostgres, s.openNATS, s.openRedis, s.openReads, s.startPrograms}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return s, fmt.Errorf("open stage: %w", err)
		}
	}
	return s, nil
}

func (s *stage) later(end func() error) { s.closers = append(s.closers, end) }

// close ends everything, last opened first.
func (s *stage) close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	s.closers = nil
	return errors.Join(errs...)
}

func (s *stage) openPostgres(ctx context.Context) (err error) {
	if s.postgres, err = devstack.StartPostgres(ctx, devstack.PostgresConfig{Settings: map[string]string{"max_wal_size": "4GB"}}); err != nil {
		return err
	}
	s.later(s.postgres.Close)
	if s.pool, err = s.openPool(ctx, s.postgres, s.cfg.Writers+4); err != nil {
		return err
	}
	if s.table, err = table.In(outbox.DefaultSchema); err != nil {
		return err
	}
	_, err = s.pool.Exec(ctx, "CREATE TABLE acct (id int PRIMARY KEY, version int NOT NULL DEFAULT 0) WITH (fillfactor = 50)")
	if err != nil {
		return fmt.Errorf("make table: %w", err)
	}
	if _, err = s.pool.Exec(ctx, "INSERT INTO acct SELECT generate_series(0, $1::int - 1)", s.cfg.Rows); err != nil {
		return fmt.Errorf("fill table: %w", err)
	}
	if s.arm.Method != byEvents {
		return nil
	}
	if _, err = s.table.Migrate(ctx, s.pool); err != nil {
		return err
	}
	_, err = s.table.Attach(ctx, s.pool, outbox.Attachment{Table: "acct", Subject: subject + ".{id}.updated", Operations: []outbox.Operation{outbox.OpUpdate}}, 10*time.Second)
	return err
}

func (s *stage) openPool(ctx context.Context, server *devstack.Postgres, conns int) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(server.URL())
	if err != nil {
		return nil, fmt.Errorf("open pool: %w", err)
	}
	config.MaxConns = int32(conns)                                // #nosec G115 -- a handful
	config.ConnConfig.RuntimeParams["synchronous_commit"] = "off" // of what the application writes, not of relay
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open pool: %w", err)
	}
	s.later(func() error { pool.Close(); return nil })
	return pool, nil
}

// openReads opens what readers ask: the primary, or a replica that is behind.
func (s *stage) openReads(ctx context.Context) (err error) {
	from := s.postgres
	if s.arm.Lag > 0 {
		if s.standby, err = s.postgres.Standby(ctx); err != nil {
			return err
		}
		s.later(s.standby.Close)
		from = s.standby
	}
	if s.reads, err = s.openPool(ctx, from, 16); err != nil || s.arm.Lag == 0 {
		return err
	}
	for _, statement := range []string{
		fmt.Sprintf("ALTER SYSTEM SET recovery_min_apply_delay = '%dms'", s.arm.Lag.Milliseconds()),
		"ALTER SYSTEM SET max_standby_streaming_delay = -1", // a reader is not ended because the primary has vacuumed
		"SELECT pg_reload_conf()",
	} {
		if _, err := s.reads.Exec(ctx, statement); err != nil {
			return fmt.Errorf("slow the replica: %w", err)
		}
	}
	return nil
}

func (s *stage) openNATS(ctx context.Context) (err error) {
	if s.nats, err = devstack.StartNATS(devstack.NATSConfig{}); err != nil {
		return err
	}
	s.later(s.nats.Close)
	s.conn, err = nats.Connect(s.nats.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // faults are what we make
	if err != nil {
		return fmt.Errorf("connect to nats: %w", err)
	}
	s.later(func() error { s.conn.Close(); return nil })
	if s.js, err = jetstream.New(s.conn); err != nil {
		return fmt.Errorf("use jetstream: %w", err)
	}
	_, err = s.js.CreateStream(ctx, jetstream.StreamConfig{Name: stream, Subjects: []string{subject + ".>", event.ParkedPrefix + stream}, Duplicates: time.Second})
	if err != nil {
		return fmt.Errorf("make stream: %w", err)
	}
	return nil
}

func (s *stage) openRedis(ctx context.Context) (err error) {
	if s.redis, err = devstack.StartRedis(ctx, devstack.RedisConfig{}); err != nil {
		return err
	}
	s.later(func() error { return s.redis.Close() }) // the one that is master then
	if s.cache, err = listenFor(redisAddr(s.redis)); err != nil {
		return err
	}
	s.later(s.cache.close)
	if s.link, err = faultnet.Listen(s.cache.listener.Addr().String()); err != nil {
		return err
	}
	s.later(s.link.Close)
	s.rdb = redis.NewClient(&redis.Options{
		Addr: "cache", Dialer: s.cache.dial, PoolSize: 32, MaxRetries: -1, ContextTimeoutEnabled: true,
		DialTimeout: 500 * time.Millisecond, ReadTimeout: 500 * time.Millisecond, WriteTimeout: 500 * time.Millisecond,
	})
	s.later(s.rdb.Close)
	return nil
}

func redisAddr(r *devstack.Redis) string {
	return strings.TrimSuffix(strings.TrimPrefix(r.URL(), "redis://"), "/0")
}

func (s *stage) startPrograms(ctx context.Context) error {
	if s.arm.Method != byEvents {
		return nil
	}
	if err := os.WriteFile(filepath.Join(s.dir, "rules.yaml"), s.arm.rules(), 0o600); err != nil {
		return err
	}
	s.later(func() error {
		for _, p := range []*program{s.relay, s.invalidator} {
			if p != nil {
				p.kill()
			}
		}
		return nil
	})
	if err := errors.Join(s.startRelay(), s.startInvalidator()); err != nil {
		return err
	}
	return s.worksOff(ctx)
}

func (s *stage) startRelay() (err error) {
	s.relay, err = s.outbox("relay", "--subjects", subject+".>", "--name", "staleness", "--ack-wait", "1s")
	return err
}

func (s *stage) startInvalidator() (err error) {
	s.invalidator, err = s.outbox(append([]string{"invalidate", "--rules", filepath.Join(s.dir, "rules.yaml"), "--ack-wait", "2s"}, s.arm.flags()...)...)
	return err
}

func (s *stage) outbox(args ...string) (*program, error) {
	env := []string{
		"DATABASE_URL=" + s.postgres.URL(), "NATS_URL=" + s.nats.URL(), "REDIS_URL=redis://" + s.link.Addr() + "/0", "OUTBOX_STREAM=" + stream,
	}
	return startProgram(env, s.cfg.Program, args...)
}
