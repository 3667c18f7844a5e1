package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

func TestLocal(t *testing.T) {
	for host, want := range map[string]bool{
		"127.0.0.1": true, "127.255.255.254": true, "::1": true, "[::1]": true, "localhost": true, "LOCALHOST": true, "": true,
		"/var/run/postgresql": true, "@abstract": true, "::ffff:127.0.0.1": true,
		"postgres": false, "redis": false, "nats": false, "db.example.com": false, "localhost.example.com": false, "127.0.0.1.example.com": false,
		"192.0.2.1": false, "10.0.0.1": false, "0.0.0.0": false, "::": false, "2001:db8::1": false, "::ffff:192.0.2.1": false,
		"128.0.0.1": false, "127.1": false, "0x7f000001": false, "fe80::1%lo": false,
	} {
		if got := local(host); got != want {
			t.Errorf("local(%q) = %v, want %v", host, got, want)
		}
	}
}

// What each URL leads to: empty if it may be connected to, otherwise the flaw and the host.
func TestExposed(t *testing.T) {
	t.Setenv("PGSSLMODE", "")
	t.Setenv("PGSSLROOTCERT", "")
	ca := newAuthority(t, "outbox test").file
	bare, blind := plaintext+" db", unverified+" db"
	for url, want := range map[string]string{
		// PostgreSQL: prefer is the default, and falls back to plaintext.
		"postgres://db/x":                                       bare,
		"postgres://db/x?sslmode=disable":                       bare,
		"postgres://db/x?sslmode=allow":                         bare,
		"postgres://db/x?sslmode=prefer":                        bare,
		"postgres://db/x?sslmode=require":                       blind,
		"postgres://db/x?sslmode=verify-ca":                     blind, // any CA of the system, any name
		"postgres://db/x?sslmode=require&sslrootcert=" + ca:     "",
		"postgres://db/x?sslmode=verify-ca&sslrootcert=" + ca:   "",
		"postgres://db/x?sslmode=verify-full":                   "",
		"postgres://db/x?sslmode=verify-full&sslrootcert=" + ca: "",
		"host=db dbname=x":                                      bare,
		"host=db dbname=x sslmode=require":                      blind,
		"host=db dbname=x sslmode=verify-full":                  "",
		"postgres://127.0.0.1/x":                                "",
		"postgres://localhost/x?sslmode=require":                "",
		"postgres://[::1]/x?sslmode=disable":                    "",
		"host=/var/run/postgresql dbname=x":                     "",
		"postgres://127.0.0.1,db/x":                             bare,
		"postgres://127.0.0.1,127.0.0.2/x":                      "",
		"postgres://localhost:1,db:2/x?sslmode=require":         blind,
		"postgres://postgres/x":                                 plaintext + " postgres",
		"postgres://x?host=db&sslmode=disable":                  bare,
		"postgres://127.0.0.1/x?host=db":                        bare,
		"nats://db":                                             bare,
		"db":                                                    bare,
		"user:pw@db:4222":                                       bare,
		"tls://db":                                              "",
		"nats://127.0.0.1,db:4222":                              bare,
		"nats://127.0.0.1:4222, nats://[::1]:4222, localhost":   "",
		"tls://db,nats://db2":                                   "", // TLS for all
		"ws://db":                                               bare,
		"wss://db":                                              "",
		"redis://db":                                            bare,
		"redis://:pw@db:7/2":                                    bare,
		"rediss://db":                                           "",
		"rediss://db?skip_verify=true":                          blind,
		"rediss://localhost?skip_verify=true":                   "",
		"redis://127.0.0.1:1":                                   "",
		"redis://[::1]":                                         "",
		"redis-cluster://127.0.0.1:1,db:2":                      bare,
		"rediss-cluster://127.0.0.1:1,db:2":                     "",
		"rediss-cluster://127.0.0.1:1,db:2?skip_verify=true":    blind,
		"redis-sentinel://127.0.0.1:1,db:2/main":                bare,
		"redis-sentinel://127.0.0.1:1,127.0.0.1:2/main":         "",
		"rediss-sentinel://db:2/main":                           "",
	} {
		peers, err := peersOf(url)
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		got := ""
		if p, bad := exposed(peers); bad {
			got = p.flaw + " " + p.host
		}
		if got != want {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
}

func peersOf(url string) ([]peer, error) {
	switch {
	case strings.HasPrefix(url, "postgres"), strings.HasPrefix(url, "host="):
		c, err := pgconn.ParseConfig(url)
		if err != nil {
			return nil, err
		}
		return postgresPeers(c), nil
	case strings.HasPrefix(url, "redis"):
		o, err := parseRedis(url)
		if err != nil {
			return nil, err
		}
		return redisPeers(o), nil
	}
	return natsPeers(url, false)
}

// A CA of our own leaves no connection that would do without it, whatever the URL says.
func TestVerifyPostgres(t *testing.T) {
	ca := newAuthority(t, "outbox test").file
	for _, url := range []string{"postgres://db,db2:1/x", "postgres://db,db2:1/x?sslmode=disable", "postgres://db,db2:1/x?sslmode=require"} {
		c, err := pgconn.ParseConfig(url)
		if err != nil {
			t.Fatal(err)
		}
		s := settings{values: map[string]origin{"database_ca": {value: ca}, "database_cert": {}, "database_key": {}}}
		files, err := s.tlsFiles("database")
		if err != nil {
			t.Fatal(err)
		}
		verifyPostgres(c, files)
		if len(c.Fallbacks) != 1 || c.TLSConfig == nil || c.Fallbacks[0].TLSConfig == nil {
			t.Fatalf("%s: TLS %v and %d more", url, c.TLSConfig != nil, len(c.Fallbacks))
		}
		if c.TLSConfig.ServerName != "db" || c.Fallbacks[0].TLSConfig.ServerName != "db2" || c.Fallbacks[0].Port != 1 {
			t.Errorf("%s: names %s and %s", url, c.TLSConfig.ServerName, c.Fallbacks[0].TLSConfig.ServerName)
		}
		for _, p := range postgresPeers(c) {
			if p.flaw != "" {
				t.Errorf("%s: %s", url, p.flaw)
			}
		}
	}
}

// Every command that connects refuses before it does, says how to do it right, and ends as after any usage error.
func TestOtherMachinesAreRefused(t *testing.T) {
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(rules, []byte("rules:\n  - {subject: a.>, keys: [a]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const database, broker, cache = "postgres://app@postgres/x", "nats://nats:4222", "redis://redis:6379"
	for _, c := range []struct{ line, from, way string }{
		{"migrate up --database-url " + database, `flag --database-url: "postgres" is another machine, and ` + plaintext, "sslmode=verify-full"},
		{"migrate status --database-url " + database, "flag --database-url", "--insecure"},
		{"attach --list --database-url " + database, "flag --database-url", "--insecure"},
		{"attach --table a --subject a.{id} --database-url " + database, "flag --database-url", "--insecure"},
		{"detach --table a --database-url " + database, "flag --database-url", "--insecure"},
		{"status --database-url " + database + "?sslmode=require", unverified, "--database-ca"},
		{"doctor --skip nats,redis --database-url " + database, "flag --database-url", "--insecure"},
		{"doctor --skip postgres,redis --nats-url " + broker, `flag --nats-url: "nats" is another machine, and ` + plaintext, "tls://"},
		{"doctor --skip postgres,nats --redis-url " + cache, `flag --redis-url: "redis" is another machine, and ` + plaintext, "rediss:"},
		{"doctor --skip postgres,nats --redis-url rediss-cluster://127.0.0.1:1,redis?skip_verify=true", unverified, "--redis-ca"},
		{"relay --subjects a.> --database-url " + database, "flag --database-url", "--insecure"},
		{"relay --subjects a.> --database-url postgres://127.0.0.1:1/x --nats-url " + broker, "flag --nats-url", "--insecure"},
		{"invalidate --nats-url " + broker + " --rules " + rules, "flag --nats-url", "--insecure"},
		{"invalidate --redis-url " + cache + " --rules " + rules, "flag --redis-url", "--insecure"},
		{"demo --database-url " + database, "flag --database-url", "--insecure"},
		{"demo --nats-url " + broker, "flag --nats-url", "--insecure"},
		{"demo --redis-url " + cache, "flag --redis-url", "--insecure"},
	} {
		t.Run(c.line, func(t *testing.T) {
			t.Parallel()
			code, out := program{t, nil}.run(strings.Fields(c.line)...)
			if code != exitUsage || !strings.Contains(out, c.from) || !strings.Contains(out, c.way) {
				t.Errorf("exit code %d: %s", code, out)
			}
		})
	}
	if code, out := (program{t, []string{"PGHOST=postgres"}}).run("migrate", "up"); code != exitUsage || !strings.Contains(out, `PG* variables: "postgres" is another machine`) {
		t.Errorf("by PGHOST: %d: %s", code, out)
	}
}

// What was allowed is said each time.
func TestInsecureWarns(t *testing.T) {
	s := settingsOf(map[string]string{"insecure": "true"})
	var log bytes.Buffer
	s.log = slog.New(slog.NewJSONHandler(&log, nil))
	if err := s.allow("redis_url", []peer{{"127.0.0.1", plaintext}}); err != nil || log.Len() > 0 {
		t.Errorf("on this machine: %v, %s", err, &log)
	}
	if err := s.allow("redis_url", []peer{{"127.0.0.1", plaintext}, {"redis", plaintext}}); err != nil || !strings.Contains(log.String(), `"host":"redis"`) || !strings.Contains(log.String(), "WARN") {
		t.Errorf("elsewhere: %v, %s", err, &log)
	}
}

// A cluster on this machine cannot lead to another one.
func TestRedisStaysOnThisMachine(t *testing.T) {
	t.Parallel()
	server := devtest.OwnRedis(t, devstack.RedisConfig{Args: []string{"--cluster-enabled", "yes", "--cluster-announce-ip", "192.0.2.1"}})
	if err := redisAt(t, server.URL()).Do(t.Context(), "CLUSTER", "ADDSLOTSRANGE", 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	s := settingsOf(map[string]string{"redis_url": strings.Replace(server.URL(), "redis://", "redis-cluster://", 1)})
	rdb, err := openRedis(s, s.log)
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	if err := rdb.Unlink(t.Context(), "a").Err(); err == nil || !strings.Contains(err.Error(), `redis names another machine, "192.0.2.1"`) {
		t.Errorf("unlink: %v", err)
	}
}
