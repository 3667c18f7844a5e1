package devstack_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

// backends runs a query twice on one connection and returns the process ids of the backends that answered. Between the
// two queries another session starts a transaction, which occupies the backend of the first query if the pool shares
// it. The queries use the simple protocol, which every pool mode supports.
func backends(t *testing.T, url string) (first, second string) {
	t.Helper()
	connect := func() *pgx.Conn {
		t.Helper()
		cfg, err := pgx.ParseConfig(url)
		must(t, err)
		cfg.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
		conn, err := pgx.ConnectConfig(t.Context(), cfg)
		must(t, err)
		t.Cleanup(func() { conn.Close(t.Context()) })
		return conn
	}
	pid := func(conn *pgx.Conn, before string) (pid string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), before); err != nil {
			t.Fatal(err)
		}
		must(t, conn.QueryRow(t.Context(), "select pg_backend_pid()::text").Scan(&pid))
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
	must(t, execute(t, p.URL(), "create role app login password 'secret'"))
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
		t.Errorf("got log %q, want one that begins with \"pgbouncer: using /\"", log.String())
	}
	if first, second := backends(t, b.URL()); first == second {
		t.Error("both queries outside of a transaction had the same backend, want different ones")
	}
	app := strings.Replace(b.URL(), "postgres@", "app@", 1)
	wantQuery(t, app+"&default_query_exec_mode=simple_protocol", "select current_user::text", "app")

	for range 2 { // stopping a stopped pooler is not an error
		must(t, b.Stop())
	}
	if _, err := query(t, b.URL(), "select 1::text"); err == nil {
		t.Error("a query to a stopped pooler succeeded")
	}
	must(t, b.Start(t.Context()))
	backends(t, b.URL())
	wantClosed(t, parent, b)
	wantQuery(t, p.URL(), "select 'alive'", "alive")
}

func TestPgBouncerSessionMode(t *testing.T) {
	t.Parallel()
	b := devtest.OwnPgBouncer(t, devstack.PgBouncerConfig{Postgres: devtest.Postgres(t), PoolMode: "session"})
	if first, second := backends(t, b.URL()); first != second {
		t.Errorf("a session had backends %s and %s, want the same one", first, second)
	}
}

func TestPgBouncerErrors(t *testing.T) {
	t.Parallel()
	parent := serverParent(t)
	if _, err := devstack.StartPgBouncer(t.Context(), devstack.PgBouncerConfig{Dir: parent}); err == nil {
		t.Error("StartPgBouncer without a Postgres succeeded")
	}
	cfg := devstack.PgBouncerConfig{Dir: parent, Postgres: devtest.Postgres(t), PoolMode: "nonsense"}
	if _, err := devstack.StartPgBouncer(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("got error %v, want one that contains the pooler's own message about \"nonsense\"", err)
	}
	if err := empty(parent); err != nil {
		t.Error(err)
	}
}
