package table_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/internal/table/tabletest"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// Positions, bases and parked events are on disk before anything is published by them, also in a database with
// asynchronous commits.
func TestPositionsAreDurable(t *testing.T) {
	tbl, pool := tabletest.New(t)
	session := tabletest.Session(t, tbl, pool)
	for range 4 {
		if _, err := tbl.InsertAndCommit(t.Context(), pool, event.Event{Subject: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	planned, err := session.Plan(t.Context(), table.Page{Events: 10, Bytes: 1 << 20})
	if err != nil || len(planned) != 4 {
		t.Fatalf("%d planned, %v", len(planned), err)
	}
	base := table.Base{N: 1, Stream: table.Stream{Name: "S", Created: time.Unix(1, 0)}, From: 1}
	for name, do := range map[string]func(tx pgx.Tx) error{
		"base": func(tx pgx.Tx) error { return tbl.AppendBase(t.Context(), tx, base, "test", "test") },
		"park": func(tx pgx.Tx) error { return tbl.Park(t.Context(), tx, &planned[0], "too_large", "", "test") },
		"replan": func(tx pgx.Tx) error {
			return tbl.Replan(t.Context(), tx, []table.PlannedRow{{Position: 2, RowID: planned[1].RowID}}, "test")
		},
		"keep": func(tx pgx.Tx) error {
			_, err := tbl.MarkDisplaced(t.Context(), tx, []uuid.UUID{planned[2].ID}, 0, "test")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			tabletest.InTx(t, pool, func(ctx context.Context, tx pgx.Tx) {
				if _, err := tx.Exec(ctx, "SET LOCAL synchronous_commit = off"); err != nil {
					t.Fatal(err)
				}
				if err := do(tx); err != nil {
					t.Fatal(err)
				}
				var setting string
				if err := tx.QueryRow(ctx, "SHOW synchronous_commit").Scan(&setting); err != nil || strings.TrimSpace(setting) != "on" {
					t.Errorf("synchronous_commit is %q, %v", setting, err)
				}
			})
		})
	}
}
