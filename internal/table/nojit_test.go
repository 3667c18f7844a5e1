package table_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/internal/table/tabletest"
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// Queries over all partitions run without JIT, and leave the setting of the connection unchanged.
func TestQueriesOverPartitionsRunWithoutJIT(t *testing.T) {
	tbl, pool := tabletest.New(t)
	conn, err := pgx.ConnectConfig(t.Context(), pool.Config().ConnConfig.Copy())
	must(t, err)
	defer conn.Close(t.Context()) //nolint:errcheck // the test ends
	jit := func(db outbox.DB, want string) {
		t.Helper()
		var got string
		must(t, db.QueryRow(t.Context(), "SHOW jit").Scan(&got))
		if got != want {
			t.Errorf("jit is %s, want %s", got, want)
		}
	}
	_, err = conn.Exec(t.Context(), "SET jit = on")
	must(t, err)
	for name, query := range map[string]func(outbox.DB) error{
		"load": func(db outbox.DB) error {
			_, err := tbl.Load(t.Context(), db, 1, table.Page{Events: 10, Bytes: 1000})
			return err
		},
		"unparked": func(db outbox.DB) error {
			_, err := tbl.ExpectedPositions(t.Context(), db, 1, 10, time.Time{})
			return err
		},
		"oldest": func(db outbox.DB) error { _, err := tbl.OldestPosition(t.Context(), db); return err },
		"status": func(db outbox.DB) error { _, err := tbl.Status(t.Context(), db, "S"); return err },
	} {
		t.Run(name, func(t *testing.T) {
			must(t, pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
				must(t, query(tx))
				jit(tx, "off")
				return nil
			}))
			must(t, query(conn))
			jit(conn, "on")
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
