package devtest

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
)

var sharedNATS lazy[*devstack.NATS]

// NATS returns the NATS server of this test binary. Tests share it: a test must use only its own [Stream], and
// [OwnNATS] if it stops the server.
func NATS(t testing.TB) *devstack.NATS {
	t.Helper()
	return sharedNATS.get(t, func() (*devstack.NATS, error) {
		return devstack.StartNATS(devstack.NATSConfig{})
	})
}

// OwnNATS starts a server for this test only, with the last cfg or the zero value.
func OwnNATS(t testing.TB, cfg ...devstack.NATSConfig) *devstack.NATS {
	t.Helper()
	server, err := devstack.StartNATS(last(cfg))
	return own(t, server, err)
}

// OwnNATSCluster starts a cluster of three nodes for this test only.
func OwnNATSCluster(t testing.TB) *devstack.NATSCluster {
	t.Helper()
	cluster, err := devstack.StartNATSCluster(devstack.NATSClusterConfig{})
	return own(t, cluster, err)
}

// Conn returns a new connection to [NATS], closed when the test ends.
func Conn(t testing.TB) *nats.Conn {
	t.Helper()
	conn, err := nats.Connect(NATS(t).URL(), nats.Name(t.Name()))
	if err != nil {
		t.Fatalf("connect to NATS: %v", err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// Stream returns the name of a stream for this test, such as T_PLAN_3FA2C_17. The test creates the stream on [NATS],
// which is deleted when the test ends. Its subjects should begin with its name, because two streams must not have the
// same subject.
func Stream(t testing.TB) string {
	t.Helper()
	server := NATS(t)
	name := strings.ToUpper(unique(t))
	t.Cleanup(func() {
		if err := deleteStream(server.URL(), name); err != nil {
			t.Errorf("delete stream %s: %v", name, err)
		}
	})
	return name
}

func deleteStream(url, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	conn, err := nats.Connect(url)
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	if err := js.DeleteStream(ctx, name); !errors.Is(err, jetstream.ErrStreamNotFound) {
		return err
	}
	return nil
}
