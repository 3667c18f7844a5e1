package devtest

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
)

// databaseEnv is the environment variable with the URL of an external Postgres, used instead of starting one.
const databaseEnv = "OUTBOX_TEST_DATABASE_URL"

// cleanupTimeout bounds each step of the cleanup after a test.
const cleanupTimeout = 10 * time.Second

var sharedPostgres lazy[*devstack.Postgres]

// Postgres returns the Postgres of this test binary, or the external one in OUTBOX_TEST_DATABASE_URL. Tests share it: a
// test must use only its own [Schema], and [OwnPostgres] if it stops, kills or configures the server.
func Postgres(t testing.TB) *devstack.Postgres {
	t.Helper()
	return sharedPostgres.get(t, func() (*devstack.Postgres, error) {
		cfg := devstack.PostgresConfig{URL: os.Getenv(databaseEnv)}
		return devstack.StartPostgres(context.Background(), cfg)
	})
}

// OwnPostgres starts a server for this test only.
func OwnPostgres(t testing.TB, cfg devstack.PostgresConfig) *devstack.Postgres {
	t.Helper()
	server, err := devstack.StartPostgres(t.Context(), cfg)
	return own(t, server, err)
}

// OwnStandby starts a hot standby of primary for this test only.
func OwnStandby(t testing.TB, primary *devstack.Postgres) *devstack.Postgres {
	t.Helper()
	server, err := primary.Standby(t.Context())
	return own(t, server, err)
}

// OwnPgBouncer starts a connection pooler for this test only.
func OwnPgBouncer(t testing.TB, cfg devstack.PgBouncerConfig) *devstack.PgBouncer {
	t.Helper()
	server, err := devstack.StartPgBouncer(t.Context(), cfg)
	return own(t, server, err)
}

// Pool returns a new pool of connections to [Postgres], closed when the test ends. The test fails if it has not
// released all connections by then.
func Pool(t testing.TB) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), Postgres(t).URL())
	if err != nil {
		t.Fatalf("open pool: %v", err)
	}
	t.Cleanup(func() { closePool(t, pool) })
	return pool
}

// closePool closes a pool. Unlike Close it reports a leaked connection instead of waiting for it indefinitely.
func closePool(t testing.TB, pool *pgxpool.Pool) {
	closed := make(chan struct{})
	go func() {
		pool.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(cleanupTimeout):
		t.Errorf("close pool: %d connections not released within %s; a transaction, rows or a connection is still open",
			pool.Stat().AcquiredConns(), cleanupTimeout)
	}
}

// Schema returns the name of a schema for this test, such as t_plan_3fa2c_17. The test creates the schema. It is
// dropped with its content when the test ends, before pools that were opened earlier are closed. The test fails if the
// locks of an open or prepared transaction prevent that for 10 s.
func Schema(t testing.TB) string {
	t.Helper()
	server := Postgres(t)
	name := unique(t)
	t.Cleanup(func() {
		if err := dropSchema(server.URL(), name); err != nil {
			t.Errorf("drop schema %s: %v", name, err)
		}
	})
	return name
}

func dropSchema(url, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*cleanupTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	quiet := fmt.Sprintf("set lock_timeout = %d; set client_min_messages = warning", cleanupTimeout.Milliseconds())
	if _, err := conn.Exec(ctx, quiet); err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "drop schema if exists "+pgx.Identifier{name}.Sanitize()+" cascade")
	return err
}
