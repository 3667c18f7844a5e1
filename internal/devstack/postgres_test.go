package devstack_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

// query runs a statement on a new connection and returns its only value as text.
func query(t *testing.T, url, sql string) (string, error) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		return "", err
	}
	defer conn.Close(t.Context())
	var value string
	err = conn.QueryRow(t.Context(), sql).Scan(&value)
	return value, err
}

func execute(t *testing.T, url, sql string) error {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		return err
	}
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), sql)
	return err
}

func wantQuery(t *testing.T, url, sql, want string) {
	t.Helper()
	if got, err := query(t, url, sql); err != nil || got != want {
		t.Errorf("%s: got %q, %v; want %q", sql, got, err, want)
	}
}

func TestPostgresStopsAndStartsAgain(t *testing.T) {
	t.Parallel()
	parent := serverParent(t)
	p, err := devstack.StartPostgres(t.Context(), devstack.PostgresConfig{Dir: parent})
	must(t, err)
	defer p.Close()
	url := p.URL()
	must(t, execute(t, url, "create table kept as select 'committed' as v"))
	for verb, end := range map[string]func() error{"kill": p.Kill, "stop": p.Stop} {
		for range 2 { // stopping a stopped server is not an error
			if err := end(); err != nil {
				t.Fatal(verb, err)
			}
		}
		if _, err := query(t, url, "select 1::text"); err == nil {
			t.Fatalf("a query after %s succeeded", verb)
		}
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(verb, err)
		}
		wantQuery(t, url, "select v from kept", "committed")
	}
	if err := p.Start(t.Context()); err == nil {
		t.Error("Start of a running server succeeded")
	}
	wantClosed(t, parent, p)
	if err := p.Start(t.Context()); err == nil {
		t.Error("Start of a closed server succeeded")
	}
}

func TestPostgresSettings(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	p := devtest.OwnPostgres(t, devstack.PostgresConfig{
		Settings: map[string]string{"max_prepared_transactions": "7", "wal_level": "logical"},
		Log:      &log,
	})
	wantQuery(t, p.URL(), "show max_prepared_transactions", "7")
	wantQuery(t, p.URL(), "show wal_level", "logical")
	wantQuery(t, p.URL(), "show max_connections", "200")
	wantQuery(t, p.URL(), "show fsync", "off")
	wantQuery(t, p.URL(), "show synchronous_commit", "on")
	wantQuery(t, p.URLFor("template1"), "select current_database()::text", "template1")
	if line := log.String(); !strings.HasPrefix(line, "postgres: using /") || !strings.Contains(line, p.DataDir()) {
		t.Errorf("got log %q, want one that begins with \"postgres: using /\" and contains %s", line, p.DataDir())
	}
	durable := devtest.OwnPostgres(t, devstack.PostgresConfig{Fsync: true})
	wantQuery(t, durable.URL(), "show fsync", "on")
	wantQuery(t, durable.URL(), "show full_page_writes", "on")
}

func TestPostgresStartErrors(t *testing.T) {
	t.Parallel()
	parent := serverParent(t)
	cfg := devstack.PostgresConfig{Dir: parent, Settings: map[string]string{"no_such_setting": "1"}}
	_, err := devstack.StartPostgres(t.Context(), cfg)
	if err == nil || !strings.HasPrefix(err.Error(), "start postgres: ") || !strings.Contains(err.Error(), "no_such_setting") {
		t.Errorf("got error %v, want one that contains the server's own message about no_such_setting", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := devstack.StartPostgres(ctx, devstack.PostgresConfig{Dir: parent}); !errors.Is(err, context.Canceled) {
		t.Errorf("start with a canceled context: got error %v, want context.Canceled", err)
	}
	if err := empty(parent); err != nil {
		t.Error(err)
	}
}

func TestPostgresExternal(t *testing.T) {
	t.Parallel()
	ours := devtest.Postgres(t)
	external, err := devstack.StartPostgres(t.Context(), devstack.PostgresConfig{URL: ours.URL()})
	must(t, err)
	if external.URL() != ours.URL() || external.Port() != ours.Port() || external.DataDir() != "" {
		t.Errorf("external server: got URL %s, port %d, data folder %q; want %s, %d and none", external.URL(), external.Port(), external.DataDir(), ours.URL(), ours.Port())
	}
	wantExternal(t, external.Stop(), external.Kill(), external.Start(t.Context()))
	must(t, external.Close())
	wantQuery(t, ours.URL(), "select 'alive'", "alive")
	if _, err := devstack.StartPostgres(t.Context(), devstack.PostgresConfig{URL: "host=localhost"}); err == nil {
		t.Error("StartPostgres with URL \"host=localhost\" succeeded")
	}
}

func TestPostgresBin(t *testing.T) {
	t.Parallel()
	p := devtest.Postgres(t)
	for _, name := range []string{"psql", "pgbench", "pg_basebackup", "pg_dump", "pg_restore"} {
		path, err := p.Bin(name)
		must(t, err)
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	if _, err := p.Bin("pg_nonsense"); !errors.Is(err, devstack.ErrMissing) {
		t.Errorf("Bin(\"pg_nonsense\"): got error %v, want ErrMissing", err)
	}
}

func TestServersAreIndependent(t *testing.T) {
	t.Parallel()
	parent := serverParent(t)
	start := func() (*devstack.Postgres, *devstack.Redis, *devstack.NATS) {
		t.Helper()
		p := devtest.OwnPostgres(t, devstack.PostgresConfig{Dir: parent})
		return p, devtest.OwnRedis(t), devtest.OwnNATS(t)
	}
	p1, r1, n1 := start()
	p2, r2, n2 := start()
	if p1.URL() == p2.URL() || r1.URL() == r2.URL() || n1.URL() == n2.URL() {
		t.Error("two servers have the same URL")
	}
	if p1.DataDir() == p2.DataDir() || n1.StoreDir() == n2.StoreDir() {
		t.Error("two servers have the same folder")
	}
	for _, server := range []interface{ Close() error }{p1, r1, n1} {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}
	wantQuery(t, p2.URL(), "select 'alive'", "alive")
	pingRedis(t, r2)
	connectNATS(t, n2).Close()
}
