package devstack_test

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

func connectNATS(t *testing.T, n *devstack.NATS) *nats.Conn {
	t.Helper()
	conn, err := nats.Connect(n.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

func TestNATSStopsAndStartsAgain(t *testing.T) {
	t.Parallel()
	parent := serverParent(t)
	n, err := devstack.StartNATS(devstack.NATSConfig{Dir: parent, SyncAlways: true, MaxPayload: 4096})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	conn := connectNATS(t, n)
	if conn.MaxPayload() != 4096 {
		t.Errorf("max payload %d", conn.MaxPayload())
	}
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "s", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	for range 2 { // a stopped server may be stopped again
		if err := n.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := nats.Connect(n.URL()); err == nil {
		t.Fatal("stopped, and still answers")
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	js, err = jetstream.New(connectNATS(t, n))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	if msg, err := stream.GetMsg(t.Context(), 1); err != nil || string(msg.Data) != "kept" {
		t.Errorf("message after restart: %v, %v", msg, err)
	}
	if err := n.Start(); err == nil {
		t.Error("started a running server again")
	}
	for range 2 {
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := empty(parent); err != nil {
		t.Error(err)
	}
	if err := n.Start(); err == nil {
		t.Error("started a closed server")
	}
}

func TestNATSGiven(t *testing.T) {
	t.Parallel()
	ours := devtest.OwnNATS(t)
	given, err := devstack.StartNATS(devstack.NATSConfig{URL: ours.URL()})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{given.Stop(), given.Start()} {
		if !errors.Is(err, devstack.ErrNotOurs) {
			t.Errorf("want ErrNotOurs, got %v", err)
		}
	}
	if err := given.Close(); err != nil {
		t.Error(err)
	}
	connectNATS(t, ours)
	if err := ours.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := devstack.StartNATS(devstack.NATSConfig{URL: ours.URL()}); err == nil {
		t.Error("took a server that does not answer")
	}
}
