package dial

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/tlstest"
)

func TestLocal(t *testing.T) {
	for host, want := range map[string]bool{
		"127.0.0.1": true, "127.255.255.254": true, "::1": true, "[::1]": true, "localhost": true, "LOCALHOST": true, "": true,
		"/var/run/postgresql": true, "@abstract": true, "::ffff:127.0.0.1": true,
		"postgres": false, "redis": false, "nats": false, "db.example.com": false, "localhost.example.com": false, "127.0.0.1.example.com": false,
		"192.0.2.1": false, "10.0.0.1": false, "0.0.0.0": false, "::": false, "2001:db8::1": false, "::ffff:192.0.2.1": false,
		"128.0.0.1": false, "127.1": false, "0x7f000001": false, "fe80::1%lo": false,
	} {
		if got := isLocal(host); got != want {
			t.Errorf("isLocal(%q) = %v, want %v", host, got, want)
		}
	}
}

// Each URL has its flaw and host, or neither if the program may connect to it.
func TestExposed(t *testing.T) {
	t.Setenv("PGSSLMODE", "")
	t.Setenv("PGSSLROOTCERT", "")
	ca := tlstest.NewAuthority(t, "outbox test").File
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
			got = p.Flaw + " " + p.Host
		}
		if got != want {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
}

func peersOf(url string) ([]Peer, error) {
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

// With a CA from the settings every connection uses it, whatever the URL asks for.
func TestVerifyPostgres(t *testing.T) {
	ca := tlstest.NewAuthority(t, "outbox test").File
	for _, url := range []string{"postgres://db,db2:1/x", "postgres://db,db2:1/x?sslmode=disable", "postgres://db,db2:1/x?sslmode=require"} {
		c, err := pgconn.ParseConfig(url)
		if err != nil {
			t.Fatal(err)
		}
		s := with(map[string]string{"database_ca": ca})
		files, err := tlsFiles(s, "database")
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
			if p.Flaw != "" {
				t.Errorf("%s: %s", url, p.Flaw)
			}
		}
	}
}

// An insecure connection that was allowed is logged each time.
func TestInsecureWarns(t *testing.T) {
	s := with(map[string]string{"insecure": "true"})
	var log bytes.Buffer
	s.Log = slog.New(slog.NewJSONHandler(&log, nil))
	if err := allow(s, "redis_url", []Peer{{"127.0.0.1", plaintext}}); err != nil || log.Len() > 0 {
		t.Errorf("on this machine: %v, %s", err, &log)
	}
	if err := allow(s, "redis_url", []Peer{{"127.0.0.1", plaintext}, {"redis", plaintext}}); err != nil || !strings.Contains(log.String(), `"host":"redis"`) || !strings.Contains(log.String(), "WARN") {
		t.Errorf("elsewhere: %v, %s", err, &log)
	}
}

// A cluster on this machine cannot lead the client to another machine.
func TestRedisStaysOnThisMachine(t *testing.T) {
	t.Parallel()
	server := devtest.OwnRedis(t, devstack.RedisConfig{Args: []string{"--cluster-enabled", "yes", "--cluster-announce-ip", "192.0.2.1"}})
	if err := redisAt(t, server.URL()).Do(t.Context(), "CLUSTER", "ADDSLOTSRANGE", 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	s := with(map[string]string{"redis_url": strings.Replace(server.URL(), "redis://", "redis-cluster://", 1)})
	rdb, err := Redis(s, s.Log)
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	if err := rdb.Unlink(t.Context(), "a").Err(); err == nil || !strings.Contains(err.Error(), `redis names another machine, "192.0.2.1"`) {
		t.Errorf("unlink: %v", err)
	}
}

// redisAt is a client that is closed when the test ends.
func redisAt(t *testing.T, url string) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(options)
	t.Cleanup(func() { rdb.Close() })
	return rdb
}
