package bench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
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

// A session is the use of the servers by one scenario: a client of each server, and the prefix of all names that the
// scenario creates.
type session struct {
	cfg     *Config
	set     Settings
	needed  []string // servers that the scenario uses
	servers *Servers
	dial    Dial
	name    string // prefix of all names

	pool *pgxpool.Pool
	nc   *nats.Conn
	js   jetstream.JetStream
	rdb  redis.UniversalClient

	created atomic.Int64 // names created so far
	keys    testKeys

	mu    sync.Mutex
	procs watched
	notes []string
}

// ErrNoReplicas means that a scenario needs a stream with replicas, and NATS is a single server.
var ErrNoReplicas = errors.New("NATS is not a cluster, which replicas need")

// errReplicas is the error code of nats-server for that, from its errors.json.
const errReplicas = 10074

// cleanUpTimeout bounds the removal of everything that a scenario created.
const cleanUpTimeout = 2 * time.Minute

// openSession connects to the servers.
func openSession(ctx context.Context, cfg *Config, set Settings, needed []string) (_ *session, err error) {
	s := &session{cfg: cfg, set: set, needed: needed, servers: cfg.Servers, dial: cfg.Servers.NATS, rdb: cfg.Servers.Redis}
	suffix := make([]byte, 3)
	_, _ = rand.Read(suffix) // never fails
	s.name = "outbox_bench_" + hex.EncodeToString(suffix)
	if set.Replicas > 1 && cfg.Servers.Cluster != nil {
		if s.dial, err = cfg.Servers.Cluster(); err != nil {
			return nil, err
		}
	}
	config := cfg.Servers.Postgres.Copy()
	config.MaxConns = int32(max(set.Clients, 4) + 4) // #nosec G115 -- at most 500
	config.ConnConfig.RuntimeParams["application_name"] = s.name
	if s.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, fmt.Errorf("open pool: %w", err)
	}
	defer func() {
		if err != nil {
			s.disconnect()
		}
	}()
	if err := s.pool.Ping(ctx); err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	if s.nc, s.js, err = s.connect(); err != nil {
		return nil, err
	}
	if s.needs(procRedis) {
		if err := s.rdb.Ping(ctx).Err(); err != nil {
			return nil, fmt.Errorf("connect to Redis: %w", err)
		}
	}
	s.watch(ctx)
	return s, nil
}

func (s *session) needs(server string) bool { return slices.Contains(s.needed, server) }

// connect opens another connection to NATS, with the options that the program uses.
func (s *session) connect(options ...nats.Option) (*nats.Conn, jetstream.JetStream, error) {
	nc, err := s.dial(s.name, append([]nats.Option{nats.ReconnectBufSize(-1), nats.MaxReconnects(-1)}, options...)...)
	if err != nil {
		return nil, nil, fmt.Errorf("connect to NATS: %w", err)
	}
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(max(s.set.Window, 1)))
	if err != nil {
		nc.Close()
		return nil, nil, fmt.Errorf("use JetStream: %w", err)
	}
	return nc, js, nil
}

func (s *session) disconnect() {
	if s.nc != nil {
		s.nc.Close()
	}
	s.pool.Close()
}

// close removes everything that the scenario created, and disconnects. It also works when ctx has ended.
func (s *session) close(ctx context.Context) error {
	defer s.disconnect()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTimeout)
	defer cancel()
	err := errors.Join(s.dropStreams(ctx), s.dropSchemas(ctx), s.keys.delete(ctx, s.rdb))
	if err != nil {
		return fmt.Errorf("remove everything named %s…: %w", s.name, err)
	}
	return nil
}

// dropSchemas drops the schemas with the prefix of the session.
func (s *session) dropSchemas(ctx context.Context) error {
	rows, err := s.pool.Query(ctx, "SELECT nspname::text FROM pg_namespace WHERE starts_with(nspname::text, $1)", s.name)
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, name := range names {
		err = errors.Join(err, s.dropSchema(ctx, name))
	}
	return err
}

func (s *session) dropSchema(ctx context.Context, name string) error {
	_, err := s.pool.Exec(ctx, "DROP SCHEMA "+quoted(name)+" CASCADE")
	return err
}

func quoted(name string) string { return pgx.Identifier{name}.Sanitize() }

// dropStreams deletes the streams with the prefix of the session.
func (s *session) dropStreams(ctx context.Context) error {
	var created []string
	names := s.js.StreamNames(ctx)
	for name := range names.Name() {
		if strings.HasPrefix(name, strings.ToUpper(s.name)) {
			created = append(created, name)
		}
	}
	err := names.Err()
	for _, name := range created {
		err = errors.Join(err, s.js.DeleteStream(ctx, name))
	}
	return err
}

// note adds a remark for the reader of the result, once.
func (s *session) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.notes, text) {
		s.notes = append(s.notes, text)
	}
}

// newName returns a name that the session has not used.
func (s *session) newName() string { return fmt.Sprintf("%s_%d", s.name, s.created.Add(1)) }

// newStream creates a stream with a new name.
func (s *session) newStream(ctx context.Context) (string, error) {
	name := strings.ToUpper(s.newName())
	return name, s.createStream(ctx, name)
}

// createStream creates a stream with the configuration that the relay uses.
func (s *session) createStream(ctx context.Context, name string) error {
	_, err := s.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: name, Description: "created by outbox bench; may be deleted", Subjects: []string{name + ".>", event.ParkedPrefix + name},
		Storage: jetstream.FileStorage, Replicas: max(s.set.Replicas, 1), Duplicates: 2 * time.Minute, AllowDirect: true,
	})
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.ErrorCode == errReplicas {
		return fmt.Errorf("create stream %s: %w: %w", name, ErrNoReplicas, err)
	}
	if err != nil {
		return fmt.Errorf("create stream %s: %w", name, err)
	}
	return nil
}

// checkMessages returns an error unless a stream has n messages: a floor must do its work as well.
func (s *session) checkMessages(ctx context.Context, stream string, n int) error {
	str, err := s.js.Stream(ctx, stream)
	if err != nil {
		return fmt.Errorf("read the state of stream %s: %w", stream, err)
	}
	if have := str.CachedInfo().State.Msgs; have != uint64(n) { // #nosec G115 -- not negative
		return fmt.Errorf("stream %s has %d messages, want %d", stream, have, n)
	}
	return nil
}
