package dial

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
)

// A key pair of NATS that only these tests use.
const (
	testSeed = "SUAJ63JGXJN7S3VVWHTG6MBOYNKJFBFEU6YSNZZVMWVCKFNZ7URVKS2FSU"
	testNkey = "UCOJ7VECHVR2YKRSURVGBY76Z2UQQTIOFKBIZA5Q4AAFS63RGUQME3ZI"
)

func secretFile(t *testing.T, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// A secret that every user of the machine can read causes a warning; one that only its group can read does not.
func TestWarningOfFileMode(t *testing.T) {
	for mode, warns := range map[os.FileMode]bool{0o600: false, 0o400: false, 0o640: false, 0o644: true, 0o604: true} {
		path := secretFile(t, "pw", mode)
		s := with(map[string]string{"nats_token_file": path})
		var log bytes.Buffer
		s.Log = slog.New(slog.NewJSONHandler(&log, nil))
		if _, err := natsUser(s); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(log.String(), path) != warns {
			t.Errorf("%o: %s", mode, &log)
		}
	}
}

// Each way to log in works on a real server, and two at once are a usage error.
func TestNATSUsers(t *testing.T) {
	password := secretFile(t, "pw", 0o600)
	seed := secretFile(t, testSeed+"\n", 0o600)
	for name, c := range map[string]struct {
		options  server.Options
		settings map[string]string
	}{
		"user":  {server.Options{Username: "app", Password: "pw"}, map[string]string{"nats_user": "app", "nats_password_file": password}},
		"token": {server.Options{Authorization: "pw"}, map[string]string{"nats_token_file": password}},
		"nkey":  {server.Options{Nkeys: []*server.NkeyUser{{Nkey: testNkey}}}, map[string]string{"nats_nkey_file": seed}},
	} {
		c.options.Host, c.options.Port, c.options.NoSigs = "127.0.0.1", -1, true
		at := runNATS(t, &c.options)
		c.settings["nats_url"] = at
		nc, _, err := NATS(t.Context(), with(c.settings), "outbox test")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !nc.Opts.IgnoreDiscoveredServers || !strings.HasPrefix(nc.NewInbox(), "_INBOX_outbox_test.") {
			t.Errorf("%s: discovered servers count, or answers come to %s", name, nc.NewInbox())
		}
		nc.Close()
		nc, _, err = NATS(t.Context(), with(map[string]string{"nats_url": at}), "outbox test")
		if err == nil || exit.Code(err) != exit.Failed {
			nc.Close()
			t.Errorf("%s: without: %v", name, err)
		}
	}
	for name, values := range map[string]map[string]string{
		"user alone":     {"nats_user": "app"},
		"password alone": {"nats_password_file": password},
		"two":            {"nats_token_file": password, "nats_nkey_file": seed},
		"URL and file":   {"nats_token_file": password, "nats_url": "nats://app:pw@127.0.0.1:1"},
		"no seed":        {"nats_nkey_file": password},
		"no file":        {"nats_nkey_file": "/nowhere"},
		"no credentials": {"nats_creds": "/nowhere"},
		"key alone":      {"nats_key": password},
		"cert alone":     {"nats_cert": password},
		"no CA":          {"nats_ca": password},
	} {
		nc, _, err := NATS(t.Context(), with(values), "outbox test")
		if err == nil || exit.Code(err) != exit.Usage {
			nc.Close()
			t.Errorf("%s: %v", name, err)
		}
	}
}

// with is the defaults with some settings changed.
func with(values map[string]string) *setting.Set {
	s := setting.Defaults()
	for key, value := range values {
		s.Override(key, value, "flag --"+s.Origin(key).Setting.Name())
	}
	return s
}

// runNATS runs a server with options of its own until the test ends, and returns its URL.
func runNATS(t *testing.T, options *server.Options) string {
	t.Helper()
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("nats-server is not ready")
	}
	return s.ClientURL()
}
