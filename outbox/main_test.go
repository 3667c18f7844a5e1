package outbox_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

func TestMain(m *testing.M) { devtest.Main(m) }

// exampleDatabase returns a pool for an example, of the test server, with a migrated default schema and a table users
// that has the row 42.
func exampleDatabase() (pool *pgxpool.Pool, done func()) {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, devtest.Postgres(exampleTB{}).URL())
	must(err)
	table, err := outbox.In(outbox.DefaultSchema)
	must(err)
	_, err = table.Migrate(ctx, pool)
	must(err)
	_, err = pool.Exec(ctx, "CREATE TABLE users (id int PRIMARY KEY, name text); INSERT INTO users VALUES (42, 'Grace')")
	must(err)
	return pool, func() {
		_, err := pool.Exec(ctx, "DROP TABLE users; DROP SCHEMA outbox CASCADE; DROP SCHEMA IF EXISTS billing_outbox CASCADE")
		must(err)
		pool.Close()
	}
}

// pending returns the subject and the payload of the one event in the outbox.
func pending(pool *pgxpool.Pool) string {
	var subject, payload string
	must(pool.QueryRow(context.Background(), "SELECT subject, convert_from(payload, 'UTF8') FROM outbox.event").Scan(&subject, &payload))
	return subject + " " + payload
}

// exampleTB starts the server of an example, which has no testing.TB.
type exampleTB struct{ testing.TB }

func (exampleTB) Helper() {}

func (exampleTB) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

func must(err error) {
	if err != nil {
		panic(err)
	}
}
