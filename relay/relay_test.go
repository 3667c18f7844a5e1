package relay_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/outbox"
	"github.com/seed-6eff6314/outbox-relay/relay"
)

// rig is one outbox, one stream and the way between them, of one test.
type rig struct {
	t       testing.TB
	table   *outbox.Table
	pool    *pgxpool.Pool
	natsURL string
	nc      *nats.Conn
	stream  string
}

func newRig(t testing.TB) *rig {
	g := &rig{t: t, natsURL: devtest.NATS(t).URL(), nc: devtest.Conn(t), stream: devtest.Stream(t)}
	g.openTable()
	return g
}

func (g *rig) openTable() {
	g.t.Helper()
	g.pool = devtest.Pool(g.t)
	g.migrate(devtest.Schema(g.t))
}

func (g *rig) openTableOn(server *devstack.Postgres) {
	g.t.Helper()
	pool, err := pgxpool.New(g.t.Context(), server.URL())
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(pool.Close)
	g.pool = pool
	g.migrate(outbox.DefaultSchema)
}

func (g *rig) migrate(schema string) {
	g.t.Helper()
	table, err := outbox.In(schema)
	if err != nil {
		g.t.Fatal(err)
	}
	if _, err := table.Migrate(g.t.Context(), g.pool); err != nil {
		g.t.Fatal(err)
	}
	g.table = table
}

// subjects that the test's stream takes; its own, because streams of one server must not overlap.
func (g *rig) subjects() []string { return []string{g.stream + ".>"} }

func (g *rig) subject(format string, args ...any) string {
	return g.stream + "." + fmt.Sprintf(format, args...)
}

func (g *rig) config() relay.Config {
	return relay.Config{
		Stream: g.stream, Subjects: g.subjects(), Name: g.t.Name(),
		AckWait: 2 * time.Second, ReceiptEvery: 50 * time.Millisecond, StandbyPoll: 20 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(testLog{g.t}, &slog.HandlerOptions{Level: slog.LevelInfo})),
	}
}

type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// connect is a connection as a relay should have it.
func (g *rig) connect() *nats.Conn {
	g.t.Helper()
	return g.connectTo(g.natsURL)
}

func (g *rig) connectTo(url string) *nats.Conn {
	g.t.Helper()
	nc, err := nats.Connect(url, nats.ReconnectBufSize(-1), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.RetryOnFailedConnect(true))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(nc.Close)
	return nc
}

// running is a relay in the background.
type running struct {
	*relay.Relay
	stop func() error // ends it, and says what Run returned
}

func (g *rig) start(cfg relay.Config) *running {
	g.t.Helper()
	return g.startOn(g.pool, g.connect(), cfg)
}

// startOn starts a relay whose connections are not the test's own.
func (g *rig) startOn(pool *pgxpool.Pool, nc *nats.Conn, cfg relay.Config) *running {
	g.t.Helper()
	r, err := relay.New(g.table, pool, nc, cfg)
	if err != nil {
		g.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	var result error
	stopped := false
	run := &running{Relay: r, stop: func() error {
		if !stopped {
			stopped = true
			cancel()
			select {
			case result = <-done:
			case <-time.After(20 * time.Second):
				result = fmt.Errorf("relay did not stop")
			}
		}
		return result
	}}
	g.t.Cleanup(func() {
		if err := run.stop(); err != nil && !g.t.Failed() {
			g.t.Errorf("relay: %v", err)
		}
	})
	return run
}

func (g *rig) insert(events ...outbox.Event) {
	g.t.Helper()
	if _, err := g.table.InsertOutsideTx(g.t.Context(), g.pool, events...); err != nil {
		g.t.Fatal(err)
	}
}

func (g *rig) insertN(n int) {
	g.t.Helper()
	_, err := g.pool.Exec(g.t.Context(), g.table.SQL(`INSERT INTO outbox.event (subject, key, payload)
		SELECT $1 || '.' || (g % 50), (g % 50)::text, convert_to(g::text, 'UTF8') FROM generate_series(1, $2::int) g`), g.stream, n)
	if err != nil {
		g.t.Fatal(err)
	}
}

func (g *rig) count() int {
	g.t.Helper()
	var n int
	if err := g.pool.QueryRow(g.t.Context(), g.table.SQL("SELECT count(*) FROM outbox.event")).Scan(&n); err != nil {
		g.t.Fatal(err)
	}
	return n
}

func (g *rig) info() *jetstream.StreamInfo {
	g.t.Helper()
	js, err := jetstream.New(g.nc)
	if err != nil {
		g.t.Fatal(err)
	}
	s, err := js.Stream(g.t.Context(), g.stream)
	if err != nil {
		g.t.Fatal(err)
	}
	return s.CachedInfo()
}

// drained waits until everything is planned and acknowledged. It fails when no receipt comes for 30 s; how long all of it takes
// depends on the machine, and under the race detector on what else runs there.
func (g *rig) drained() {
	g.t.Helper()
	acked := int64(-1)
	for done := false; !done; {
		devtest.Eventually(g.t, 30*time.Second, "more published", func() error {
			s, err := g.table.Status(g.t.Context(), g.pool, g.stream)
			if err != nil {
				return err
			}
			done = s.Pending == 0 && s.Planned > 0
			if !done && s.Acked <= acked {
				return fmt.Errorf("%d pending, %d planned", s.Pending, s.Planned)
			}
			acked = s.Acked
			return nil
		})
	}
}

func TestRelayPublishesWhatCommits(t *testing.T) {
	g := newRig(t)
	run := g.start(g.config())
	g.insert(outbox.Event{Subject: g.subject("a"), Key: "k", Payload: []byte(`{"a":1}`), Headers: map[string]string{"Trace": "x"}})
	g.insertN(5000)
	g.drained()
	g.verify()
	if err := run.stop(); err != nil {
		t.Fatal(err)
	}
	if s := run.Stats(); s.Published != 5001 || s.Parked != 0 || s.Leads {
		t.Fatalf("stats %+v", s)
	}
}

func TestRelayResumesWhereTheStreamEnds(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	for range 3 {
		g.insertN(1000)
		run := g.start(g.config())
		g.drained()
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	}
	g.verify()
}

func TestStandbyTakesOver(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	a := g.start(g.config())
	devtest.Eventually(t, 5*time.Second, "a leads", func() error { return ok(a.Stats().Leads) })
	b := g.start(g.config())
	g.insertN(100)
	g.drained()
	if b.Stats().Leads {
		t.Fatal("two relays lead")
	}
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
	g.insertN(100)
	g.drained()
	if s := b.Stats(); !s.Leads || s.Published != 100 {
		t.Fatalf("stats of the standby %+v", s)
	}
	g.verify()
}

func ok(b bool) error {
	if !b {
		return fmt.Errorf("not yet")
	}
	return nil
}

// Foreign messages that come after some quiet, or where there were some before, and while nothing is in flight, move the
// base: order stays.
func TestForeignMessagesMoveTheBase(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	run := g.start(g.config())
	g.insertN(100)
	g.drained()
	devtest.Eventually(t, 20*time.Second, "some quiet", func() error { return ok(time.Since(run.Stats().LastAck) > 200*time.Millisecond) })
	for range 2 {
		g.foreign(3)
		g.insertN(100)
		g.drained()
	}
	if v := g.verdict(); v.Lost+v.Twice+v.Reordered+v.Misplaced > 0 || v.Foreign != 6 || v.Published != 300 {
		t.Fatalf("stream against table: %+v", v)
	}
	if s := run.Stats(); s.Rebases != 3 || s.Foreign != 6 {
		t.Fatalf("stats %+v", s)
	}
}

// Foreign messages that come into a window in flight stand where events belong. Those are published at the end: nothing
// is lost and nothing twice.
func TestForeignMessagesInAWindow(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	run := g.start(g.config())
	inserted := make(chan struct{})
	go func() { defer close(inserted); g.insertN(40_000) }()
	for i := 0; ; i++ {
		select {
		case <-inserted:
		default:
			g.foreign(1)
			continue
		}
		break
	}
	devtest.Eventually(t, 20*time.Second, "a foreign message came in between", func() error {
		g.foreign(2)
		g.insertN(500)
		return ok(run.Stats().Foreign > 5)
	})
	g.drained()
	if v := g.verdict(); v.Lost+v.Twice > 0 || v.Foreign == 0 || v.Published != int64(g.count()) {
		t.Fatalf("stream against table: %+v", v)
	}
	t.Logf("%+v", g.verdict())
}

func (g *rig) foreign(n int) {
	g.t.Helper()
	js, err := jetstream.New(g.nc)
	if err != nil {
		g.t.Fatal(err)
	}
	devtest.Eventually(g.t, 20*time.Second, "our connection is back, too", func() error { return ok(g.nc.IsConnected()) })
	for range n {
		if _, err := js.Publish(g.t.Context(), g.subject("foreign"), []byte("x"), jetstream.WithRetryAttempts(100)); err != nil {
			g.t.Fatal(err)
		}
	}
}

func TestUnpublishableEventsAreParked(t *testing.T) {
	g := newRig(t)
	js, err := jetstream.New(g.nc)
	if err != nil {
		t.Fatal(err)
	}
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: g.stream, Subjects: append(g.subjects(), relay.ControlSubject(g.stream)), MaxMsgSize: 2000,
	})
	if err != nil {
		t.Fatal(err)
	}
	twice := outbox.Event{Subject: g.subject("twice"), ID: [16]byte{1, 2, 3}}
	g.insert(outbox.Event{Subject: g.subject("good")}, outbox.Event{Subject: "elsewhere.1"}, outbox.Event{Subject: g.subject("good")})
	g.insert(outbox.Event{Subject: g.subject("large"), Payload: make([]byte, 3000)})
	g.insert(outbox.Event{Subject: g.subject("header"), Payload: make([]byte, 1990)}) // with headers too large: only the server knows
	g.insert(twice, outbox.Event{Subject: g.subject("good")}, twice, outbox.Event{Subject: g.subject("good")})
	run := g.start(g.config())
	g.drained()
	var reasons string
	err = g.pool.QueryRow(t.Context(), g.table.SQL("SELECT string_agg(position || ' ' || reason, ', ' ORDER BY position) FROM outbox.parked")).Scan(&reasons)
	if err != nil {
		t.Fatal(err)
	}
	if want := "2 no_stream, 4 too_large, 5 too_large, 8 duplicate_id"; reasons != want {
		t.Fatalf("parked %q, want %q", reasons, want)
	}
	if s := run.Stats(); s.Parked != 4 || s.Published != 5 {
		t.Fatalf("stats %+v", s)
	}
	if last := g.info().State.LastSeq; last != 9 {
		t.Fatalf("stream ends at %d, want 9: events and markers", last)
	}
}

func TestHaltOnRefusal(t *testing.T) {
	g := newRig(t)
	cfg := g.config()
	cfg.OnRefuse = relay.Halt
	r, err := relay.New(g.table, g.pool, g.connect(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	g.insert(outbox.Event{Subject: "elsewhere.1"})
	err = r.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "does not cover") || !strings.Contains(err.Error(), "--on-refuse park") {
		t.Fatalf("got %v", err)
	}
}

func TestStreamThatDoesNotCover(t *testing.T) {
	g := newRig(t)
	js, err := jetstream.New(g.nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: g.stream, Subjects: []string{g.stream + ".x"}}); err != nil {
		t.Fatal(err)
	}
	r, err := relay.New(g.table, g.pool, g.connect(), g.config())
	if err != nil {
		t.Fatal(err)
	}
	err = r.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "nats stream edit "+g.stream) {
		t.Fatalf("got %v, want the command that mends it", err)
	}
}

func TestSharedStream(t *testing.T) {
	g := newRig(t)
	cfg := g.config()
	cfg.Shared = true
	g.insertN(3000)
	run := g.start(cfg)
	g.foreign(10)
	g.insertN(1000)
	g.drained()
	if err := run.stop(); err != nil {
		t.Fatal(err)
	}
	if last := g.info().State.LastSeq; last != 4010 {
		t.Fatalf("stream ends at %d, want 4010", last)
	}
}

// No message is in the stream before its place in the plan is durable: whoever receives one finds its position
// committed.
func TestPlanIsCommittedBeforeAnythingIsPublished(t *testing.T) {
	g := newRig(t)
	g.start(g.config())
	sub, err := g.nc.SubscribeSync(g.stream + ".>")
	if err != nil {
		t.Fatal(err)
	}
	for range 300 {
		g.insert(outbox.Event{Subject: g.subject("a")})
		m, err := sub.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		cursor, err := g.table.Cursor(t.Context(), g.pool)
		if err != nil {
			t.Fatal(err)
		}
		e, err := outbox.Parse(m.Subject, m.Header, m.Data)
		if err != nil || e.Position > cursor.LastPosition {
			t.Fatalf("position %d is published, the plan ends at %d (%v)", e.Position, cursor.LastPosition, err)
		}
	}
}
