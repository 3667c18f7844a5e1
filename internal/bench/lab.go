package bench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// A lab is the servers as one scenario uses them: a client of each, and a name that begins those of all that is made there.
type lab struct {
	cfg     *Config
	set     Settings
	needed  []string
	servers *Servers
	dial    Dial
	name    string

	pool *pgxpool.Pool
	nc   *nats.Conn
	js   jetstream.JetStream
	rdb  redis.UniversalClient

	made atomic.Int64
	keys keyring

	mu    sync.Mutex
	procs watched
	notes []string
}

// ErrNoReplicas says that a scenario needs replicas of streams, and NATS is a single server.
var ErrNoReplicas = errors.New("NATS is no cluster that could keep replicas")

// errReplicas is the code of nats-server for that, from its errors.json.
const errReplicas = 10074

// cleanWait bounds the removal of what was made, after a scenario.
const cleanWait = 2 * time.Minute

// openLab connects; an error of it wraps that of the server that could not be had.
func openLab(ctx context.Context, cfg *Config, set Settings, needed []string) (_ *lab, err error) {
	l := &lab{cfg: cfg, set: set, needed: needed, servers: cfg.Servers, dial: cfg.Servers.NATS, rdb: cfg.Servers.Redis}
	suffix := make([]byte, 3)
	_, _ = rand.Read(suffix) // never fails
	l.name = "outbox_bench_" + hex.EncodeToString(suffix)
	if set.Replicas > 1 && cfg.Servers.Cluster != nil {
		if l.dial, err = cfg.Servers.Cluster(); err != nil {
			return nil, err
		}
	}
	config := cfg.Servers.Postgres.Copy()
	config.MaxConns = int32(max(set.Clients, 4) + 4) // #nosec G115 -- at most 500
	config.ConnConfig.RuntimeParams["application_name"] = l.name
	if l.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, fmt.Errorf("open pool: %w", err)
	}
	defer func() {
		if err != nil {
			l.disconnect()
		}
	}()
	if err := l.pool.Ping(ctx); err != nil {
		return nil, fmt.Errorf("connect to postgres: %w", err)
	}
	if l.nc, l.js, err = l.connect(); err != nil {
		return nil, err
	}
	if l.needs(procRedis) {
		if err := l.rdb.Ping(ctx).Err(); err != nil {
			return nil, fmt.Errorf("connect to redis: %w", err)
		}
	}
	l.watch(ctx)
	return l, nil
}

func (l *lab) needs(server string) bool {
	for _, name := range l.needed {
		if name == server {
			return true
		}
	}
	return false
}

// connect opens one more connection to NATS, as the program does.
func (l *lab) connect(options ...nats.Option) (*nats.Conn, jetstream.JetStream, error) {
	nc, err := l.dial(l.name, append([]nats.Option{nats.ReconnectBufSize(-1), nats.MaxReconnects(-1)}, options...)...)
	if err != nil {
		return nil, nil, fmt.Errorf("connect to nats: %w", err)
	}
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(max(l.set.Window, 1)))
	if err != nil {
		nc.Close()
		return nil, nil, fmt.Errorf("use jetstream: %w", err)
	}
	return nc, js, nil
}

func (l *lab) disconnect() {
	if l.nc != nil {
		l.nc.Close()
	}
	l.pool.Close()
}

// close removes everything that was made, and disconnects. It works when ctx has ended, too.
func (l *lab) close(ctx context.Context) error {
	defer l.disconnect()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanWait)
	defer cancel()
	err := errors.Join(l.dropStreams(ctx), l.dropSchemas(ctx), l.keys.drop(ctx, l.rdb))
	if err != nil {
		return fmt.Errorf("remove what begins with %s: %w", l.name, err)
	}
	return nil
}

// dropSchemas drops the schemas whose names begin with ours.
func (l *lab) dropSchemas(ctx context.Context) error {
	rows, err := l.pool.Query(ctx, "SELECT nspname::text FROM pg_namespace WHERE starts_with(nspname::text, $1)", l.name)
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, name := range names {
		err = errors.Join(err, l.dropSchema(ctx, name))
	}
	return err
}

func (l *lab) dropSchema(ctx context.Context, name string) error {
	_, err := l.pool.Exec(ctx, "DROP SCHEMA "+pgx.Identifier{name}.Sanitize()+" CASCADE")
	return err
}

// dropStreams deletes the streams whose names begin with ours.
func (l *lab) dropStreams(ctx context.Context) error {
	var ours []string
	names := l.js.StreamNames(ctx)
	for name := range names.Name() {
		if strings.HasPrefix(name, strings.ToUpper(l.name)) {
			ours = append(ours, name)
		}
	}
	err := names.Err()
	for _, name := range ours {
		err = errors.Join(err, l.js.DeleteStream(ctx, name))
	}
	return err
}

// note keeps what a reader of the result has to know, once.
func (l *lab) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, have := range l.notes {
		if have == text {
			return
		}
	}
	l.notes = append(l.notes, text)
}

// stream makes one as the relay does, with a name of its own.
func (l *lab) stream(ctx context.Context) (string, error) {
	name := fmt.Sprintf("%s_%d", strings.ToUpper(l.name), l.made.Add(1))
	return name, l.makeStream(ctx, name)
}

func (l *lab) makeStream(ctx context.Context, name string) error {
	_, err := l.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: name, Description: "of outbox bench, may be deleted", Subjects: []string{name + ".>", event.ParkedPrefix + name},
		Storage: jetstream.FileStorage, Replicas: max(l.set.Replicas, 1), Duplicates: 2 * time.Minute, AllowDirect: true,
	})
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.ErrorCode == errReplicas {
		return fmt.Errorf("make stream %s: %w: %w", name, ErrNoReplicas, err)
	}
	if err != nil {
		return fmt.Errorf("make stream %s: %w", name, err)
	}
	return nil
}
