package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/tlstest"
)

// A fortress is all three servers with TLS, certificates for 127.0.0.1 alone, and no client without one.
type fortress struct {
	ours, theirs            *tlstest.Authority
	urls                    map[string]string // by setting
	cert, key, alien, alkey string            // of a client
}

func newFortress(t *testing.T) *fortress {
	t.Helper()
	f := &fortress{ours: tlstest.NewAuthority(t, "ours"), theirs: tlstest.NewAuthority(t, "theirs")}
	cert, key := f.ours.Issue("server", "127.0.0.1")
	f.cert, f.key = f.ours.Issue("app")
	f.alien, f.alkey = f.theirs.Issue("app")
	files := devstack.TLSFiles{Cert: cert, Key: key, CA: f.ours.File}
	pg := devtest.OwnPostgres(t, devstack.PostgresConfig{TLS: files, HBA: []string{"hostssl all all 127.0.0.1/32 trust clientcert=verify-ca"}})
	config := filepath.Join(t.TempDir(), "nats.conf")
	text := fmt.Sprintf("tls { cert_file: %q, key_file: %q, ca_file: %q, verify: true }\n", cert, key, f.ours.File)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	broker := devtest.OwnNATS(t, devstack.NATSConfig{ConfigFile: config})
	cache := devtest.OwnRedis(t, devstack.RedisConfig{TLS: files, Args: []string{"--tls-auth-clients", "yes"}})
	conn, err := pgx.Connect(t.Context(), pg.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "CREATE ROLE app LOGIN SUPERUSER"); err != nil {
		t.Fatal(err)
	}
	f.urls = map[string]string{
		"database": fmt.Sprintf("postgres://app@127.0.0.1:%d/postgres", pg.Port()),
		"nats":     broker.URL(),
		"redis":    strings.Replace(cache.URL(), "rediss://", "redis://", 1),
	}
	return f
}

// env is the settings for a server: its URL, and its files, which may be empty.
func (f *fortress) env(server, url, ca, cert, key string) []string {
	prefix := "OUTBOX_" + strings.ToUpper(server)
	return []string{prefix + "_URL=" + url, prefix + "_CA=" + ca, prefix + "_CERT=" + cert, prefix + "_KEY=" + key}
}

// TLS is verified in both directions with each of the three servers, and --insecure does not change that.
func TestMutualTLS(t *testing.T) {
	t.Parallel()
	f := newFortress(t)
	names := map[string]string{"database": exit.Postgres, "nats": exit.NATS, "redis": exit.Redis}
	for server, name := range names {
		at := f.urls[server]
		for _, c := range []struct {
			what, url, ca, cert, key string
			want                     string // part of the evidence; empty: connected. A server may close the connection without a reason
		}{
			{"as it should be", at, f.ours.File, f.cert, f.key, ""},
			{"by URL", byURL(t, server, at, f), "", f.cert, f.key, ""},
			{"wrong CA", at, f.theirs.File, f.cert, f.key, "x509: "},
			{"wrong name", strings.Replace(at, "127.0.0.1", "localhost", 1), f.ours.File, f.cert, f.key, "x509: "},
			{"no client certificate", at, f.ours.File, "", "", " "},
			{"another's client certificate", at, f.ours.File, f.alien, f.alkey, " "},
			{"no settings", at, "", "", "", " "},
		} {
			t.Run(server+" "+c.what, func(t *testing.T) {
				t.Parallel()
				p := program{t, append(f.env(server, c.url, c.ca, c.cert, c.key), "OUTBOX_INSECURE=true")}
				if c.what == "by URL" {
					p.env = append(p.env, "SSL_CERT_FILE="+f.ours.File) // the CAs of the system
				}
				state, evidence, code := p.reach(name)
				if (state == stateOK) != (c.want == "") || !strings.Contains(evidence, c.want) {
					t.Errorf("%s: %s, want %q", state, evidence, c.want)
				}
				if strings.Contains(c.want, "x509") && code != exit.Findings {
					t.Errorf("exit code %d: a server with a wrong certificate is not unavailable", code)
				}
			})
		}
	}
}

// byURL is the URL that asks for the same as the files of the other cases.
func byURL(t *testing.T, server, text string, f *fortress) string {
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	switch server {
	case "database":
		u.RawQuery = "sslmode=verify-full&sslrootcert=" + f.ours.File
	case "nats":
		u.Scheme = "tls"
	case "redis":
		u.Scheme = "rediss"
	}
	return u.String()
}

// reach runs doctor to see whether a server is reachable.
func (p program) reach(server string) (state, evidence string, code int) {
	p.t.Helper()
	var others []string
	for _, name := range []string{exit.Postgres, exit.NATS, exit.Redis} {
		if name != server {
			others = append(others, name)
		}
	}
	cmd := p.command("doctor", "-o", "json", "--skip", strings.Join(others, ","))
	text, _ := cmd.Output() // its code is asked for
	var out struct{ Checks []check }
	if err := json.Unmarshal(text, &out); err != nil {
		p.t.Fatalf("doctor: %v\n%s", err, text)
	}
	for _, c := range out.Checks {
		if c.Check == "reachable" {
			return c.State, c.Evidence, cmd.ProcessState.ExitCode()
		}
	}
	p.t.Fatalf("no such check: %s", text)
	return "", "", 0
}

// An event goes the whole way through TLS, and its key is deleted.
func TestWholeWayThroughTLS(t *testing.T) {
	t.Parallel()
	f := newFortress(t)
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(rules, []byte("rules:\n  - {subject: a.*, keys: [\"a:$1\"]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := program{t, nil}
	for server, at := range f.urls {
		p.env = append(p.env, f.env(server, at, f.ours.File, f.cert, f.key)...)
	}
	if code, out := p.run("migrate", "up"); code != 0 {
		t.Fatal(out)
	}
	p.background("relay", "--subjects", "a.>")
	p.background("invalidate", "--rules", rules)
	conn, err := pgx.Connect(t.Context(), f.urls["database"]+fmt.Sprintf("?sslmode=verify-full&sslrootcert=%s&sslcert=%s&sslkey=%s", f.ours.File, f.cert, f.key))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "SELECT outbox.enqueue('a.1', '{}')"); err != nil {
		t.Fatal(err)
	}
	devtest.Eventually(t, patience, "published and processed", func() error {
		code, out := p.run("status", "-o", "json")
		var s statusJSON
		if err := json.Unmarshal([]byte(out), &s); err != nil || code != 0 {
			return fmt.Errorf("%d: %s", code, out)
		}
		if s.Published != 1 || !worked(&s, "invalidate-now", "invalidate-echo-5s") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
}
