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

// query runs a statement on a fresh connection and returns its one value as text.
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
		t.Errorf("%s: %q, %v; want %q", sql, got, err, want)
	}
}

func TestPostgresStopsAndStartsAgain(t *testing.T) {
	t.Parallel()
	parent := serverParent(t)
	p, err := devstack.StartPostgres(t.Context(), devstack.PostgresConfig{Dir: parent})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	url := p.URL()
	if err := execute(t, url, "create table kept as select 'committed' as v"); err != nil {
		t.Fatal(err)
	}
	for verb, end := range map[string]func() error{"kill": p.Kill, "stop": p.Stop} {
		for range 2 { // a stopped server may be stopped again
			if err := end(); err != nil {
				t.Fatal(verb, err)
			}
		}
		if _, err := query(t, url, "select 1::text"); err == nil {
			t.Fatalf("%s: still answers", verb)
		}
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(verb, err)
		}
		wantQuery(t, url, "select v from kept", "committed")
	}
	if err := p.Start(t.Context()); err == nil {
		t.Error("started a running server again")
	}
	for range 2 {
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := empty(parent); err != nil {
		t.Error(err)
	}
	if err := p.Start(t.Context()); err == nil {
		t.Error("started a closed server")
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
		t.Errorf("log: %q", line)
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
		t.Errorf("error does not hold the server's own: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := devstack.StartPostgres(ctx, devstack.PostgresConfig{Dir: parent}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := empty(parent); err != nil {
		t.Error(err)
	}
}

func TestPostgresGiven(t *testing.T) {
	t.Parallel()
	ours := devtest.Postgres(t)
	given, err := devstack.StartPostgres(t.Context(), devstack.PostgresConfig{URL: ours.URL()})
	if err != nil {
		t.Fatal(err)
	}
	if given.URL() != ours.URL() || given.Port() != ours.Port() || given.DataDir() != "" {
		t.Errorf("given: %s, port %d, data %q", given.URL(), given.Port(), given.DataDir())
	}
	for _, err := range []error{given.Stop(), given.Kill(), given.Start(t.Context())} {
		if !errors.Is(err, devstack.ErrNotOurs) {
			t.Errorf("want ErrNotOurs, got %v", err)
		}
	}
	if err := given.Close(); err != nil {
		t.Error(err)
	}
	wantQuery(t, ours.URL(), "select 'alive'", "alive")
	if _, err := devstack.StartPostgres(t.Context(), devstack.PostgresConfig{URL: "host=localhost"}); err == nil {
		t.Error("took a URL that is none")
	}
}

func TestPostgresBin(t *testing.T) {
	t.Parallel()
	p := devtest.Postgres(t)
	for _, name := range []string{"psql", "pgbench", "pg_basebackup", "pg_dump", "pg_restore"} {
		path, err := p.Bin(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	if _, err := p.Bin("pg_nonsense"); !errors.Is(err, devstack.ErrMissing) {
		t.Errorf("want ErrMissing, got %v", err)
	}
}

func TestTwoStacks(t *testing.T) {
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
		t.Error("two servers share an address")
	}
	if p1.DataDir() == p2.DataDir() || n1.StoreDir() == n2.StoreDir() {
		t.Error("two servers share a folder")
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
