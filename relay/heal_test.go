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
	"github.com/seed-6eff6314/outbox-relay/internal/relaytest"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
	"github.com/seed-6eff6314/outbox-relay/relay"
)

// copyStore copies the broker's store and returns a function that restores the copy. It restarts the broker for both.
func copyStore(t *testing.T, broker *devstack.NATS) (goBack func()) {
	t.Helper()
	copied := t.TempDir()
	relaytest.Must(t, broker.Stop())
	relaytest.Must(t, os.CopyFS(copied, os.DirFS(broker.StoreDir())))
	relaytest.Must(t, broker.Start())
	return func() {
		relaytest.Must(t, broker.Stop())
		relaytest.Must(t, os.RemoveAll(broker.StoreDir()))
		relaytest.Must(t, os.CopyFS(broker.StoreDir(), os.DirFS(copied)))
		relaytest.Must(t, broker.Start())
	}
}

// The broker is not available when the relay starts, and is stopped again later: nothing is lost, and no person has to act.
func TestBrokerAway(t *testing.T) {
	t.Parallel()
	g, broker := relaytest.NewOwn(t)
	relaytest.Must(t, broker.Stop())
	run := g.Start(g.Config())
	g.InsertN(1000)
	devtest.Eventually(t, 10*time.Second, "the relay meets the outage", func() error { return relaytest.Holds(run.Stats().LastErrors > 0) })
	relaytest.Must(t, broker.Start())
	g.Drained()
	relaytest.Must(t, broker.Stop())
	g.InsertN(1000)
	relaytest.Must(t, broker.Start())
	g.Drained()
	g.Verify()
}

// A broker whose store is restored from an older copy lost acknowledged messages. The relay publishes them again at their sequences.
func TestStreamWentBack(t *testing.T) {
	t.Parallel()
	g, broker := relaytest.NewOwn(t)
	run := g.Start(g.Config())
	g.InsertN(500)
	g.Drained()
	goBack := copyStore(t, broker)
	g.InsertN(3000)
	g.Drained()
	goBack()
	devtest.Eventually(t, 20*time.Second, "the lost messages are back", func() error { return relaytest.Holds(g.LastSequence() >= 3500) })
	g.Verify()
	if s := run.Stats(); s.Lost != 3000 {
		t.Fatalf("stats %+v", s)
	}
}

func TestRecreatedStream(t *testing.T) {
	g := relaytest.New(t)
	run := g.Start(g.Config())
	g.InsertN(100)
	g.Drained()
	js, err := jetstream.New(g.NC)
	relaytest.Must(t, err)
	relaytest.Must(t, js.DeleteStream(t.Context(), g.Stream))
	g.InsertN(1)
	devtest.Eventually(t, 20*time.Second, "the new stream is full", func() error { return relaytest.Holds(g.LastSequence() == 101) })
	g.Verify()
	relaytest.Must(t, run.Stop())

	relaytest.Must(t, js.DeleteStream(t.Context(), g.Stream))
	cfg := g.Config()
	cfg.OnRecreate = relay.RecreatedHalt
	r, err := relay.New(g.Pool, g.Connect(), cfg)
	relaytest.Must(t, err)
	if err := r.Run(t.Context()); !errors.Is(err, relay.ErrRecreated) {
		t.Fatalf("got %v, want ErrRecreated", err)
	}
}

// PostgreSQL crashes and restarts: the relay opens another session and continues the plan.
func TestDatabaseRestarts(t *testing.T) {
	t.Parallel()
	server := devtest.OwnPostgres(t, devstack.PostgresConfig{})
	g := &relaytest.Rig{T: t, NATSURL: devtest.NATS(t).URL(), NC: devtest.Conn(t), Stream: devtest.Stream(t)}
	g.OpenTableOn(server)
	run := g.Start(g.Config())
	g.InsertN(500)
	g.Drained()
	for range 2 {
		relaytest.Must(t, server.Kill())
		relaytest.Must(t, server.Start(t.Context()))
		devtest.Eventually(t, 20*time.Second, "a writer inserts after the restart", func() error {
			_, err := g.Table.InsertAndCommit(t.Context(), g.Pool, event.Event{Subject: g.Subject("x")})
			return err
		})
	}
	g.Drained()
	g.Verify()
	relaytest.Must(t, run.Stop())
}

// A relay that is stopped finishes what is in flight and writes a receipt for it.
func TestStopFinishesWhatIsInFlight(t *testing.T) {
	t.Parallel()
	g := relaytest.New(t)
	g.InsertN(20_000)
	run := g.Start(g.Config())
	devtest.Eventually(t, 20*time.Second, "the relay is in the middle of the backlog", func() error { return relaytest.Holds(run.Stats().Published > 2000) })
	relaytest.Must(t, run.Stop())
	s, err := g.Table.Status(context.Background(), g.Pool, g.Stream)
	relaytest.Must(t, err)
	if published := int64(run.Stats().Published); s.Acked != published || g.LastSequence() != uint64(published) {
		t.Fatalf("acked %d by receipt, %d by count, stream ends at %d", s.Acked, published, g.LastSequence())
	}
}

// A foreign message moved the base, and then the broker went back to before it: the old base holds again, also for a
// relay that starts later.
func TestStreamWentBackBeforeAForeignMessage(t *testing.T) {
	t.Parallel()
	g, broker := relaytest.NewOwn(t)
	run := g.Start(g.Config())
	g.InsertN(50)
	g.Drained()
	goBack := copyStore(t, broker)
	g.InsertN(50)
	g.Drained()
	g.Foreign(1)
	g.InsertN(50)
	g.Drained()
	goBack()
	devtest.Eventually(t, 20*time.Second, "the lost messages are back", func() error { return relaytest.Holds(g.LastSequence() >= 150) })
	g.InsertN(50)
	g.Drained()
	relaytest.Must(t, run.Stop())
	later := g.Start(g.Config())
	g.InsertN(10)
	g.Drained()
	g.Verify()
	if s := later.Stats(); s.Lost+s.Foreign+s.Rebases > 0 {
		t.Fatalf("the relay that starts later repairs something: %+v", s)
	}
}
