package outbox_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

func TestMain(m *testing.M) { devtest.Main(m) }

// newTable is a migrated outbox in a schema of the test's own.
func newTable(t testing.TB) (*outbox.Table, *pgxpool.Pool) {
	t.Helper()
	pool := devtest.Pool(t)
	table, err := outbox.In(devtest.Schema(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := table.Migrate(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	return table, pool
}

func newSession(t testing.TB, table *outbox.Table, pool *pgxpool.Pool) *outbox.Session {
	t.Helper()
	s, err := table.OpenSession(t.Context(), pool.Config().ConnConfig.Copy(), t.Name())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func inTx(t testing.TB, pool *pgxpool.Pool, f func(ctx context.Context, tx pgx.Tx)) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		f(t.Context(), tx)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
