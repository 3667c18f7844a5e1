package devstack_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

// The configuration file decides who may do what, and how one connects; it is read
// again at the next start.
func TestNATSConfigFile(t *testing.T) {
	t.Parallel()
	files := devtest.TLS(t)
	path := filepath.Join(t.TempDir(), "nats.conf")
	writeNATSConfig(t, path, files, "old")
	n := devtest.OwnNATS(t, devstack.NATSConfig{ConfigFile: path, MaxPayload: 4096})
	connect := func(password string) (*nats.Conn, error) {
		return nats.Connect(n.URL(), nats.UserInfo("app", password), nats.RootCAs(files.CA))
	}
	conn, err := connect("old")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if conn.MaxPayload() != 4096 {
		t.Errorf("max payload %d", conn.MaxPayload())
	}
	if _, err := conn.TLSConnectionState(); err != nil {
		t.Errorf("not encrypted: %v", err)
	}
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "s", nil); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(n.StoreDir(), "jetstream")); err != nil {
		t.Error(err)
	}
	refused := make(chan error, 1)
	conn.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		select {
		case refused <- err:
		default: // the first one counts
		}
	})
	if err := conn.Publish("other", nil); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-refused:
		if !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("other: %v", err)
		}
	case <-time.After(within):
		t.Error("other: not refused")
	}

	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	writeNATSConfig(t, path, files, "new")
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := connect("old"); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("old password: %v", err)
	}
	again, err := connect("new")
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

// writeNATSConfig lets user app, over TLS, write to stream S and no more.
func writeNATSConfig(t *testing.T, path string, files devstack.TLSFiles, password string) {
	t.Helper()
	text := fmt.Sprintf(`
		port: 4222, host: "0.0.0.0", jetstream { store_dir: "/nowhere" }
		tls { cert_file: %q, key_file: %q }
		authorization { users: [
			{ user: app, password: %q, permissions { publish: ["s", "$JS.API.STREAM.CREATE.S"], subscribe: "_INBOX.>" } }
		] }`, files.Cert, files.Key, password)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestNATSConfigFileErrors(t *testing.T) {
	t.Parallel()
	parent := serverParent(t)
	path := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(path, []byte("no_such_field: 1"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{path, path + ".absent"} {
		_, err := devstack.StartNATS(devstack.NATSConfig{Dir: parent, ConfigFile: path})
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := empty(parent); err != nil {
		t.Error(err)
	}
}
