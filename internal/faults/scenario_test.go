package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/internal/verify"
	"github.com/seed-6eff6314/outbox-relay/outbox"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

const accounts = 40

// scene is one outbox, one stream, one cache, the URLs that programs reach them by, and what a scenario counts.
type scene struct {
	t                            *testing.T
	databaseURL, natsURL, redURL string // may lead through a proxy
	writers                      string // URL that the load writes by; empty for that of pool
	pool                         *pgxpool.Pool
	nc                           *nats.Conn
	js                           jetstream.JetStream
	rdb                          *redis.Client
	table                        *table.Table
	stream, prefix, rules        string
	cached                       bool // an invalidator runs: no key may be stale at rest
	failedOver                   bool // the database lost commits: what was published may be at positions that it gave away again
	others                       bool // others write to the stream: foreign messages and displaced events are no fault
	row                          row
}

// options of a scene; what is empty is shared with the other scenarios.
type options struct {
	database, nats string
	replicas       int
	duplicates     time.Duration // the stream's window; 1 s by default, so that nothing rests on it
	limit          func(*jetstream.StreamConfig)
}

func newScene(t *testing.T, o options) *scene {
	t.Helper()
	s := &scene{t: t, databaseURL: o.database, natsURL: o.nats, redURL: devtest.Redis(t).URL(), rdb: devtest.RedisClient(t),
		stream: devtest.Stream(t), prefix: devtest.Prefix(t)}
	schema := outbox.DefaultSchema
	if s.databaseURL == "" {
		s.databaseURL, schema = devtest.Postgres(t).URL(), devtest.Schema(t)
	}
	if s.natsURL == "" {
		s.natsURL = devtest.NATS(t).URL()
	}
	s.connect(schema)
	s.makeStream(o)
	s.exec(`CREATE TABLE outbox.account (key int PRIMARY KEY, version int NOT NULL DEFAULT 0)`)
	s.exec(fmt.Sprintf(`INSERT INTO outbox.account SELECT generate_series(0, %d)`, accounts-1))
	s.rules = filepath.Join(t.TempDir(), "rules.yaml")
	s.must(os.WriteFile(s.rules, fmt.Appendf(nil, "rules:\n  - subject: %s.account.*\n    keys: [\"%s$1\"]\n", s.stream, s.prefix), 0o600))
	return s
}

func (s *scene) connect(schema string) {
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

func (s *scene) makeStream(o options) {
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

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) exec(sql string, args ...any) {
	s.t.Helper()
	_, err := s.pool.Exec(s.t.Context(), s.table.SQL(sql), args...)
	s.must(err)
}

// eventually is devtest.Eventually with a condition that may fail.
func (s *scene) eventually(d time.Duration, what string, cond func(ctx context.Context) error) {
	s.t.Helper()
	devtest.Eventually(s.t, d, what, func() error {
		ctx, cancel := context.WithTimeout(s.t.Context(), 3*time.Second)
		defer cancel()
		return cond(ctx)
	})
}

// recovered inserts an event and measures how long it takes to the stream, since the fault.
func (s *scene) recovered(since time.Time) {
	s.t.Helper()
	s.flows()
	s.row.recoveries = append(s.row.recoveries, time.Since(since))
}

// flows inserts an event and waits until the stream has it.
func (s *scene) flows() {
	s.t.Helper()
	subject := s.stream + ".probe." + uuid.NewString()
	s.eventually(30*time.Second, "insert a probe", func(ctx context.Context) error {
		_, err := s.table.InsertAndCommit(ctx, s.pool, event.Event{Subject: subject})
		return err
	})
	s.eventually(60*time.Second, "the probe is published", func(ctx context.Context) error {
		stream, err := s.js.Stream(ctx, s.stream)
		if err == nil {
			_, err = stream.GetLastMsgForSubject(ctx, subject)
		}
		return err
	})
}

// rest waits until everything is planned, acknowledged and consumed.
func (s *scene) rest() {
	s.t.Helper()
	s.eventually(2*time.Minute, "everything published", func(ctx context.Context) error {
		status, err := s.table.Status(ctx, s.pool, s.stream)
		if err == nil && status.Pending != 0 {
			err = fmt.Errorf("%d pending of %d planned", status.Pending, status.Planned)
		}
		return err
	})
	if !s.cached {
		return
	}
	s.eventually(2*time.Minute, "everything consumed", func(ctx context.Context) error {
		c, err := s.js.Consumer(ctx, s.stream, "invalidate-now")
		if err != nil {
			return err
		}
		if i := c.CachedInfo(); i.NumPending+uint64(i.NumAckPending) > 0 {
			return fmt.Errorf("%d pending, %d not acknowledged", i.NumPending, i.NumAckPending)
		}
		return nil
	})
}

// judge waits for rest and holds the stream against the table, the versions of every account against each other, and
// every cached key against its row.
func (s *scene) judge() verify.Verdict {
	s.t.Helper()
	s.rest()
	stream := verify.Stream{Table: s.table, Pool: s.pool, Conn: s.nc, Name: s.stream}
	var v verify.Verdict
	devtest.Eventually(s.t, time.Minute, "the stream is read", func() (err error) {
		v, err = stream.Verify(s.t.Context())
		return err
	})
	broken := v
	if s.others {
		broken.Foreign, broken.Reordered = 0, 0
	}
	if s.failedOver {
		broken.Misplaced = 0
	}
	if err := broken.Err(); err != nil {
		s.t.Error(err)
	}
	if v.Again == 0 && !s.others { // what comes again comes late
		s.versions()
	}
	stale := s.stale()
	if stale > 0 {
		s.t.Errorf("%d stale keys", stale)
	}
	s.row.verdict, s.row.stale = v, stale
	return v
}

// stale counts cached keys whose value is not the row's.
func (s *scene) stale() (n int) {
	s.t.Helper()
	if !s.cached {
		return 0
	}
	rows, err := s.pool.Query(s.t.Context(), s.table.SQL("SELECT key::text, version::text FROM outbox.account"))
	s.must(err)
	var key, version string
	_, err = pgx.ForEachRow(rows, []any{&key, &version}, func() error {
		cached, err := s.rdb.Get(s.t.Context(), s.prefix+key).Result()
		if errors.Is(err, redis.Nil) {
			return nil
		}
		if err == nil && cached != version {
			n++
		}
		return err
	})
	s.must(err)
	return n
}
