package bench

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
)

// Dial opens a connection to NATS.
type Dial func(name string, options ...nats.Option) (*nats.Conn, error)

// Servers are what is measured. The caller closes Redis; everything else is opened and closed here.
type Servers struct {
	Postgres *pgxpool.Config
	NATS     Dial
	Cluster  func() (Dial, error)  // NATS for streams with replicas. nil: NATS has them
	Redis    redis.UniversalClient // a scenario that needs none does not ask it
	Env      []string              // settings of the program outbox for these servers
	Notes    []string              // what a reader of the figures has to know of them

	natsPid    int // where it is known
	clusterPid int
}

// Own starts servers of our own, PostgreSQL with fsync on. child is the command line of a program that calls Serve if
// Serving says so: NATS is that process then, so that its CPU time can be told from ours; nil has it in this one. It
// returns what stops them, too, when there is an error.
func Own(ctx context.Context, child []string, log io.Writer) (s *Servers, stop func() error, err error) {
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
	start := func(kind string) (Dial, string, int, error) {
		server, err := startChild(child, kind)
		if err != nil {
			return nil, "", 0, err
		}
		closers = append(closers, server.stop)
		return func(name string, options ...nats.Option) (*nats.Conn, error) {
			return nats.Connect(server.url, append(options, nats.Name(name))...)
		}, server.url, server.pid, nil
	}
	s = &Servers{Notes: []string{"servers of our own, fsync on in PostgreSQL, NATS syncs every 2 minutes (its default)"}}
	var natsURL string
	if s.NATS, natsURL, s.natsPid, err = start(serveNATS); err != nil {
		return nil, stop, err
	}
	s.Cluster = func() (dial Dial, err error) {
		dial, _, s.clusterPid, err = start(serveCluster)
		s.Cluster = func() (Dial, error) { return dial, err }
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
