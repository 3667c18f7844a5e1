package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

// A key pair of NATS that is good for these tests alone.
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

func TestSecretFile(t *testing.T) {
	for content, want := range map[string]string{
		"pw": "pw", "pw\n": "pw", "pw\r\n": "pw", " p w \n": " p w ", "": "is empty", "\n": "is empty", "pw\n\n": "more than one line",
		"a\nb": "more than one line", "a\x00": "control characters", strings.Repeat("x", maxSecretFile+1): "has more than 65536 bytes",
	} {
		path := secretFile(t, content, 0o600)
		s := settingsOf(map[string]string{"redis_password_file": path})
		got, err := s.secret("redis_password_file")
		if err != nil {
			got = err.Error()
			if code(err) != exitUsage || !strings.HasPrefix(got, "flag --redis-password-file: ") || !strings.Contains(got, path) {
				t.Errorf("%q: %v", content, err)
			}
		}
		if got != want && (err == nil || !strings.Contains(got, want)) {
			t.Errorf("%q is %q, want %q", content, got, want)
		}
	}
	if _, err := settingsOf(map[string]string{"redis_password_file": "/nowhere/x"}).secret("redis_password_file"); code(err) != exitUsage || !strings.Contains(err.Error(), "/nowhere/x") {
		t.Errorf("no file: %v", err)
	}
}

// The group may read a secret, everybody else may not without being told of.
func TestSecretFileMode(t *testing.T) {
	for mode, warns := range map[os.FileMode]bool{0o600: false, 0o400: false, 0o640: false, 0o644: true, 0o604: true} {
		path := secretFile(t, "pw", mode)
		s := settingsOf(map[string]string{"nats_token_file": path})
		var log bytes.Buffer
		s.log = slog.New(slog.NewJSONHandler(&log, nil))
		if _, err := s.natsUser(); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(log.String(), path) != warns {
			t.Errorf("%o: %s", mode, &log)
		}
	}
}

// Each way to say who we are works on a real server, and two at once are a mistake.
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
		nc, _, err := dialNATS(settingsOf(c.settings), "outbox test")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !nc.Opts.IgnoreDiscoveredServers || !strings.HasPrefix(nc.NewInbox(), "_INBOX_outbox_test.") {
			t.Errorf("%s: discovered servers count, or answers come to %s", name, nc.NewInbox())
		}
		nc.Close()
		nc, _, err = dialNATS(settingsOf(map[string]string{"nats_url": at}), "outbox test")
		if err == nil || code(err) != exitFailed {
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
		nc, _, err := dialNATS(settingsOf(values), "outbox test")
		if err == nil || code(err) != exitUsage {
			nc.Close()
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The password of a file wins over that of the URL, with PostgreSQL and with Redis.
func TestPasswordFiles(t *testing.T) {
	t.Parallel()
	pg := devtest.OwnPostgres(t, devstack.PostgresConfig{HBA: []string{"host all all 127.0.0.1/32 scram-sha-256"}})
	conn, err := pgx.Connect(t.Context(), pg.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "CREATE ROLE app LOGIN PASSWORD 'right'"); err != nil {
		t.Fatal(err)
	}
	cache := devtest.OwnRedis(t, devstack.RedisConfig{Password: "right"})
	at, err := url.Parse(cache.URL())
	if err != nil {
		t.Fatal(err)
	}
	for _, password := range []string{"right", "wrong"} {
		file := secretFile(t, password+"\n", 0o600)
		p := program{t, []string{"OUTBOX_DATABASE_URL=" + fmt.Sprintf("postgres://app:wrong@127.0.0.1:%d/postgres", pg.Port()), "OUTBOX_DATABASE_PASSWORD_FILE=" + file,
			"OUTBOX_REDIS_URL=redis://:wrong@" + at.Host, "OUTBOX_REDIS_PASSWORD_FILE=" + file}}
		for _, server := range []string{postgres, redisServer} {
			state, evidence, code := p.reach(server)
			if (state == stateOK) != (password == "right") || password == "wrong" && code != exitFindings {
				t.Errorf("%s with the %s password: %s, %s, exit code %d", server, password, state, evidence, code)
			}
		}
	}
}
