package faults

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

const accounts = 40

// A scenario is one outbox, one stream and one cache, the URLs at which programs reach them, and the results so far.
// Its methods must be called from the goroutine of its test; the load only reads its fields.
type scenario struct {
	t                            *testing.T
	databaseURL, natsURL, redURL string // for programs; may lead through a proxy
	writers                      string // database URL of the load; empty means that of pool
	pool                         *pgxpool.Pool
	nc                           *nats.Conn
	js                           jetstream.JetStream
	rdb                          *redis.Client
	table                        *table.Table
	stream, prefix, rules        string
	cached                       bool // an invalidator is running, so no key may be stale at the end
	failedOver                   bool // the database lost commits, so published events may have positions that it assigned again
	others                       bool // other writers use the stream, so foreign messages and displaced events are expected
	row                          row
}

// options of a scenario. A server without a URL is shared with other scenarios.
type options struct {
	database, nats string
	replicas       int
	duplicates     time.Duration // the stream's deduplication window; defaults to 1s, too short to hide resent events
	limit          func(*jetstream.StreamConfig)
}

func newScenario(t *testing.T, o options) *scenario {
	t.Helper()
	s := &scenario{t: t, databaseURL: o.database, natsURL: o.nats, redURL: devtest.Redis(t).URL(), rdb: devtest.RedisClient(t),
		stream: devtest.Stream(t), prefix: devtest.Prefix(t)}
	schema := outbox.DefaultSchema
	if s.databaseURL == "" {
		s.databaseURL, schema = devtest.Postgres(t).URL(), devtest.Schema(t)
	}
	if s.natsURL == "" {
		s.natsURL = devtest.NATS(t).URL()
	}
	s.connect(schema)
	s.createStream(o)
	s.exec(`CREATE TABLE outbox.account (key int PRIMARY KEY, version int NOT NULL DEFAULT 0)`)
	s.exec(fmt.Sprintf(`INSERT INTO outbox.account SELECT generate_series(0, %d)`, accounts-1))
	s.rules = filepath.Join(t.TempDir(), "rules.yaml")
	s.writeRules("  - subject: {stream}.account.*\n    keys: [\"{prefix}$1\"]\n")
	return s
}

func (s *scenario) connect(schema string) {
	s.t.Helper()
	var err error
	s.pool, err = pgxpool.New(s.t.Context(), s.databaseURL)
	s.must(err)
	s.t.Cleanup(s.pool.Close)
	s.nc, err = nats.Connect(s.natsURL, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	s.must(err)
	s.t.Cleanup(s.nc.Close)
	s.js, err = jetstream.New(s.nc)
	s.must(err)
	s.table, err = table.In(schema)
	s.must(err)
	_, err = s.table.Migrate(s.t.Context(), s.pool)
	s.must(err)
}

func (s *scenario) createStream(o options) {
	s.t.Helper()
	c := jetstream.StreamConfig{
		Name: s.stream, Subjects: []string{s.stream + ".>", event.ParkedPrefix + s.stream},
		Replicas: max(o.replicas, 1), Duplicates: o.duplicates,
	}
	if c.Duplicates == 0 {
		c.Duplicates = time.Second
	}
	if o.limit != nil {
		o.limit(&c)
	}
	_, err := s.js.CreateStream(s.t.Context(), c)
	s.must(err)
}

// writeRules writes the rules of the invalidator. It replaces {stream} and {prefix} with those of the scenario.
func (s *scenario) writeRules(rules string) {
	s.t.Helper()
	text := strings.NewReplacer("{stream}", s.stream, "{prefix}", s.prefix).Replace("rules:\n" + rules)
	s.must(os.WriteFile(s.rules, []byte(text), 0o600))
}

// useRedis makes a server of the test the cache. It must be called before an invalidator starts.
func (s *scenario) useRedis(server *devstack.Redis) {
	s.t.Helper()
	options, err := redis.ParseURL(server.URL())
	s.must(err)
	s.redURL, s.rdb = server.URL(), redis.NewClient(options)
	s.t.Cleanup(func() { _ = s.rdb.Close() })
}

// useDatabase switches to another database that has the outbox, for programs and writers that start later.
func (s *scenario) useDatabase(url string) {
	s.t.Helper()
	s.pool.Close()
	var err error
	s.pool, err = pgxpool.New(s.t.Context(), url)
	s.must(err)
	s.t.Cleanup(s.pool.Close)
	s.databaseURL = url
}

func (s *scenario) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *scenario) exec(sql string, args ...any) {
	s.t.Helper()
	_, err := s.pool.Exec(s.t.Context(), s.table.SQL(sql), args...)
	s.must(err)
}

// eventually is devtest.Eventually with a context that bounds each call of cond to 3s. cond must return errors: methods
// that end the test, such as must, would fail it while a connection is reconnecting.
func (s *scenario) eventually(d time.Duration, what string, cond func(ctx context.Context) error) {
	s.t.Helper()
	s.retry(3*time.Second, d, what, cond)
}

// retry is eventually with another bound for each call of cond.
func (s *scenario) retry(each, d time.Duration, what string, cond func(ctx context.Context) error) {
	s.t.Helper()
	devtest.Eventually(s.t, d, what, func() error {
		ctx, cancel := context.WithTimeout(s.t.Context(), each)
		defer cancel()
		return cond(ctx)
	})
}

// probe inserts an event and waits until it is in the stream.
func (s *scenario) probe() {
	s.t.Helper()
	subject := s.stream + ".probe." + uuid.NewString()
	s.eventually(30*time.Second, "probe inserted", func(ctx context.Context) error {
		_, err := s.table.InsertAndCommit(ctx, s.pool, event.Event{Subject: subject})
		return err
	})
	s.awaitPublished(subject)
}

// measureRecovery inserts an event, waits until it is in the stream, and records the time since the fault.
func (s *scenario) measureRecovery(since time.Time) {
	s.t.Helper()
	s.probe()
	s.row.recoveries = append(s.row.recoveries, time.Since(since))
}

// awaitPublished waits until an event with a subject is in the stream.
func (s *scenario) awaitPublished(subject string) {
	s.t.Helper()
	s.eventually(time.Minute, subject+" published", func(ctx context.Context) error {
		stream, err := s.js.Stream(ctx, s.stream)
		if err == nil {
			_, err = stream.GetLastMsgForSubject(ctx, subject)
		}
		return err
	})
}

// streamState reads the state of the stream.
func (s *scenario) streamState(ctx context.Context) (jetstream.StreamState, error) {
	stream, err := s.js.Stream(ctx, s.stream)
	if err != nil {
		return jetstream.StreamState{}, err
	}
	return stream.CachedInfo().State, nil
}

// awaitState waits until the state of the stream can be read, and returns it.
func (s *scenario) awaitState() (state jetstream.StreamState) {
	s.t.Helper()
	s.eventually(time.Minute, "state of the stream read", func(ctx context.Context) (err error) {
		state, err = s.streamState(ctx)
		return err
	})
	return state
}

// awaitMessages waits until the stream contains n messages.
func (s *scenario) awaitMessages(within time.Duration, n int) {
	s.t.Helper()
	s.eventually(within, fmt.Sprintf("%d messages in the stream", n), func(ctx context.Context) error {
		state, err := s.streamState(ctx)
		if err != nil {
			return err
		}
		return atLeast(state.Msgs, uint64(n))
	})
}

// awaitGrowth waits until the last sequence of the stream has grown by n.
func (s *scenario) awaitGrowth(n uint64) {
	s.t.Helper()
	want := s.awaitState().LastSeq + n
	s.eventually(time.Minute, fmt.Sprintf("%d more messages in the stream", n), func(ctx context.Context) error {
		state, err := s.streamState(ctx)
		if err != nil {
			return err
		}
		return atLeast(state.LastSeq, want)
	})
}

func atLeast(got, want uint64) error {
	if got < want {
		return fmt.Errorf("got %d, want at least %d", got, want)
	}
	return nil
}
