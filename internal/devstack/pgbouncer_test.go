package devstack_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

// backends runs a query twice on one connection and in simple protocol, which any
// pool mode lets through, with another session in a transaction on what the first
// query used. It returns the process ids of the servers that answered.
func backends(t *testing.T, url string) (first, second string) {
	t.Helper()
	connect := func() *pgx.Conn {
		t.Helper()
		cfg, err := pgx.ParseConfig(url)
		if err != nil {
			t.Fatal(err)
		}
		cfg.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
		conn, err := pgx.ConnectConfig(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close(t.Context()) })
		return conn
	}
	pid := func(conn *pgx.Conn, before string) (pid string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), before); err != nil {
			t.Fatal(err)
		}
		if err := conn.QueryRow(t.Context(), "select pg_backend_pid()::text").Scan(&pid); err != nil {
			t.Fatal(err)
		}
		return pid
	}
	conn, other := connect(), connect()
	first = pid(conn, "")
	pid(other, "begin")
	return first, pid(conn, "")
}

func TestPgBouncerPools(t *testing.T) {
	t.Parallel()
	parent := serverParent(t)
	p := devtest.OwnPostgres(t, devstack.PostgresConfig{HBA: []string{"host all app 127.0.0.1/32 scram-sha-256"}})
	if err := execute(t, p.URL(), "create role app login password 'secret'"); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	b, err := devstack.StartPgBouncer(t.Context(), devstack.PgBouncerConfig{
		Postgres: p, Dir: parent, Log: &log,
		Users:    map[string]string{"app": "secret"},
		Settings: map[string]string{"default_pool_size": "7"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if !strings.HasPrefix(log.String(), "pgbouncer: using /") {
		t.Errorf("log: %q", log.String())
	}
	if first, second := backends(t, b.URL()); first == second {
		t.Error("a session kept its server outside of a transaction")
	}
	app := strings.Replace(b.URL(), "postgres@", "app@", 1)
	wantQuery(t, app+"&default_query_exec_mode=simple_protocol", "select current_user::text", "app")

	for range 2 { // a stopped pooler may be stopped again
		if err := b.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := query(t, b.URL(), "select 1::text"); err == nil {
		t.Error("stopped, and still answers")
	}
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	backends(t, b.URL())
	for range 2 {
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := empty(parent); err != nil {
		t.Error(err)
	}
	wantQuery(t, p.URL(), "select 'alive'", "alive")
}

func TestPgBouncerSessionMode(t *testing.T) {
	t.Parallel()
	b := devtest.OwnPgBouncer(t, devstack.PgBouncerConfig{Postgres: devtest.Postgres(t), PoolMode: "session"})
	if first, second := backends(t, b.URL()); first != second {
		t.Error("a session changed its server")
	}
}

func TestPgBouncerErrors(t *testing.T) {
	t.Parallel()
	parent := serverParent(t)
	if _, err := devstack.StartPgBouncer(t.Context(), devstack.PgBouncerConfig{Dir: parent}); err == nil {
		t.Error("started without a Postgres")
	}
	cfg := devstack.PgBouncerConfig{Dir: parent, Postgres: devtest.Postgres(t), PoolMode: "nonsense"}
	if _, err := devstack.StartPgBouncer(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("error does not hold the pooler's own: %v", err)
	}
	if err := empty(parent); err != nil {
		t.Error(err)
	}
}
