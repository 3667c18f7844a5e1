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
	must(t, err)
	t.Cleanup(conn.Close)
	return conn
}

func TestNATSStopsAndStartsAgain(t *testing.T) {
	t.Parallel()
	parent := serverParent(t)
	n, err := devstack.StartNATS(devstack.NATSConfig{Dir: parent, SyncAlways: true, MaxPayload: 4096})
	must(t, err)
	defer n.Close()
	conn := connectNATS(t, n)
	if conn.MaxPayload() != 4096 {
		t.Errorf("got max payload %d, want 4096", conn.MaxPayload())
	}
	js, err := jetstream.New(conn)
	must(t, err)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "s", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	for range 2 { // stopping a stopped server is not an error
		must(t, n.Stop())
	}
	if _, err := nats.Connect(n.URL()); err == nil {
		t.Fatal("connecting to a stopped server succeeded")
	}
	must(t, n.Start())
	js, err = jetstream.New(connectNATS(t, n))
	must(t, err)
	stream, err := js.Stream(t.Context(), "S")
	must(t, err)
	if msg, err := stream.GetMsg(t.Context(), 1); err != nil || string(msg.Data) != "kept" {
		t.Errorf("message 1 after a restart: %v, %v; want \"kept\"", msg, err)
	}
	if err := n.Start(); err == nil {
		t.Error("Start of a running server succeeded")
	}
	wantClosed(t, parent, n)
	if err := n.Start(); err == nil {
		t.Error("Start of a closed server succeeded")
	}
}

func TestNATSExternal(t *testing.T) {
	t.Parallel()
	ours := devtest.OwnNATS(t)
	external, err := devstack.StartNATS(devstack.NATSConfig{URL: ours.URL()})
	must(t, err)
	wantExternal(t, external.Stop(), external.Start())
	must(t, external.Close())
	connectNATS(t, ours)
	must(t, ours.Close())
	if _, err := devstack.StartNATS(devstack.NATSConfig{URL: ours.URL()}); err == nil {
		t.Error("StartNATS with the URL of a closed server succeeded")
	}
}

// The configuration file determines users, permissions and TLS. Each start reads it again.
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
	must(t, err)
	defer conn.Close()
	if conn.MaxPayload() != 4096 {
		t.Errorf("got max payload %d, want 4096", conn.MaxPayload())
	}
	if _, err := conn.TLSConnectionState(); err != nil {
		t.Errorf("the connection is not encrypted: %v", err)
	}
	js, err := jetstream.New(conn)
	must(t, err)
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
		default: // only the first error matters
		}
	})
	must(t, conn.Publish("other", nil))
	select {
	case err := <-refused:
		if !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("publish to a forbidden subject: got error %v, want a permission violation", err)
		}
	case <-time.After(within):
		t.Errorf("publish to a forbidden subject was not rejected within %s", within)
	}

	must(t, n.Stop())
	writeNATSConfig(t, path, files, "new")
	must(t, n.Start())
	if _, err := connect("old"); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("connect with the old password: got error %v, want ErrAuthorization", err)
	}
	again, err := connect("new")
	must(t, err)
	again.Close()
}

// writeNATSConfig writes a configuration that requires TLS and permits user app only to create stream S and publish to
// it.
func writeNATSConfig(t *testing.T, path string, files devstack.TLSFiles, password string) {
	t.Helper()
	text := fmt.Sprintf(`
		port: 4222, host: "0.0.0.0", jetstream { store_dir: "/nowhere" }
		tls { cert_file: %q, key_file: %q }
		authorization { users: [
			{ user: app, password: %q, permissions { publish: ["s", "$JS.API.STREAM.CREATE.S"], subscribe: "_INBOX.>" } }
		] }`, files.Cert, files.Key, password)
	must(t, os.WriteFile(path, []byte(text), 0o600))
}

func TestNATSConfigFileErrors(t *testing.T) {
	t.Parallel()
	parent := serverParent(t)
	path := filepath.Join(t.TempDir(), "nats.conf")
	must(t, os.WriteFile(path, []byte("no_such_field: 1"), 0o600))
	for _, path := range []string{path, path + ".absent"} {
		_, err := devstack.StartNATS(devstack.NATSConfig{Dir: parent, ConfigFile: path})
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("StartNATS with ConfigFile %s: got error %v, want one that contains the path", path, err)
		}
	}
	if err := empty(parent); err != nil {
		t.Error(err)
	}
}
