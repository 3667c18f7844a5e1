package relay_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
	"github.com/seed-6eff6314/outbox-relay/relay"
)

func newOwnRig(t *testing.T) (*rig, *devstack.NATS) {
	broker := devtest.OwnNATS(t)
	g := &rig{t: t, natsURL: broker.URL(), stream: devtest.Stream(t)}
	g.openTable()
	g.nc = g.connect()
	return g, broker
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// copyStore keeps a copy of the broker's store; the function it returns puts it back. The broker is stopped for both.
func copyStore(t *testing.T, broker *devstack.NATS) (goBack func()) {
	t.Helper()
	copied := t.TempDir()
	must(t, broker.Stop())
	must(t, os.CopyFS(copied, os.DirFS(broker.StoreDir())))
	must(t, broker.Start())
	return func() {
		must(t, broker.Stop())
		must(t, os.RemoveAll(broker.StoreDir()))
		must(t, os.CopyFS(broker.StoreDir(), os.DirFS(copied)))
		must(t, broker.Start())
	}
}

// The broker is away when the relay starts, and goes away again: nothing is lost, nobody is needed.
func TestBrokerAway(t *testing.T) {
	t.Parallel()
	g, broker := newOwnRig(t)
	must(t, broker.Stop())
	run := g.start(g.config())
	g.insertN(1000)
	devtest.Eventually(t, 10*time.Second, "the relay meets the outage", func() error { return ok(run.Stats().LastErrors > 0) })
	must(t, broker.Start())
	g.drained()
	must(t, broker.Stop())
	g.insertN(1000)
	must(t, broker.Start())
	g.drained()
	g.verify()
}

// A broker whose store is put back to an older copy has lost acknowledged messages: they are published again, in place.
func TestStreamWentBack(t *testing.T) {
	t.Parallel()
	g, broker := newOwnRig(t)
	run := g.start(g.config())
	g.insertN(500)
	g.drained()
	goBack := copyStore(t, broker)
	g.insertN(3000)
	g.drained()
	goBack()
	devtest.Eventually(t, 20*time.Second, "the lost messages are back", func() error { return ok(g.lastSequence() >= 3500) })
	g.verify()
	if s := run.Stats(); s.Lost != 3000 {
		t.Fatalf("stats %+v", s)
	}
}

func TestRecreatedStream(t *testing.T) {
	g := newRig(t)
	run := g.start(g.config())
	g.insertN(100)
	g.drained()
	js, err := jetstream.New(g.nc)
	must(t, err)
	must(t, js.DeleteStream(t.Context(), g.stream))
	g.insertN(1)
	devtest.Eventually(t, 20*time.Second, "the new stream is full", func() error { return ok(g.lastSequence() == 101) })
	g.verify()
	must(t, run.stop())

	must(t, js.DeleteStream(t.Context(), g.stream))
	cfg := g.config()
	cfg.OnRecreate = relay.Halt
	r, err := relay.New(g.pool, g.connect(), cfg)
	must(t, err)
	if err := r.Run(t.Context()); !errors.Is(err, relay.ErrRecreated) {
		t.Fatalf("got %v, want ErrRecreated", err)
	}
}

// PostgreSQL crashes and comes back: the session is opened again, and the plan goes on.
func TestDatabaseRestarts(t *testing.T) {
	t.Parallel()
	server := devtest.OwnPostgres(t, devstack.PostgresConfig{})
	g := &rig{t: t, natsURL: devtest.NATS(t).URL(), nc: devtest.Conn(t), stream: devtest.Stream(t)}
	g.openTableOn(server)
	run := g.start(g.config())
	g.insertN(500)
	g.drained()
	for range 2 {
		must(t, server.Kill())
		must(t, server.Start(t.Context()))
		devtest.Eventually(t, 20*time.Second, "insert after the restart", func() error {
			_, err := g.table.InsertAndCommit(t.Context(), g.pool, event.Event{Subject: g.subject("x")})
			return err
		})
	}
	g.drained()
	g.verify()
	must(t, run.stop())
}

// What is in flight when the relay is told to stop is finished, and said in a receipt.
func TestStopFinishesWhatIsInFlight(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.insertN(20_000)
	run := g.start(g.config())
	devtest.Eventually(t, 20*time.Second, "in the middle of it", func() error { return ok(run.Stats().Published > 2000) })
	must(t, run.stop())
	s, err := g.table.Status(context.Background(), g.pool, g.stream)
	must(t, err)
	if published := int64(run.Stats().Published); s.Acked != published || g.lastSequence() != uint64(published) {
		t.Fatalf("acked %d by receipt, %d by count, stream ends at %d", s.Acked, published, g.lastSequence())
	}
}

// A foreign message moved the base, and then the broker went back to before it: the old base holds again, also for the
// relay that starts later.
func TestStreamWentBackBehindAForeignMessage(t *testing.T) {
	t.Parallel()
	g, broker := newOwnRig(t)
	run := g.start(g.config())
	g.insertN(50)
	g.drained()
	goBack := copyStore(t, broker)
	g.insertN(50)
	g.drained()
	g.foreign(1)
	g.insertN(50)
	g.drained()
	goBack()
	devtest.Eventually(t, 20*time.Second, "the lost messages are back", func() error { return ok(g.lastSequence() >= 150) })
	g.insertN(50)
	g.drained()
	must(t, run.stop())
	later := g.start(g.config())
	g.insertN(10)
	g.drained()
	g.verify()
	if s := later.Stats(); s.Lost+s.Foreign+s.Rebases > 0 {
		t.Fatalf("the relay that starts later finds fault: %+v", s)
	}
}
