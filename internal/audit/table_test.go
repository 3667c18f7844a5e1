package audit_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-6eff6314/outbox-relay/internal/audit"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/table/tabletest"
)

// The statements of an audit read no whole table for one page, also of tables that were never analyzed.
func TestAuditKeepsToItsIndexes(t *testing.T) {
	k := tabletest.NewOutbox(t, 2500)
	plans, err := audit.In(k.Table).ExplainAudit(t.Context(), k.Pool)
	if err != nil {
		t.Fatal(err)
	}
	for name, plan := range plans {
		for _, table := range []string{"event", "batch", "parked"} {
			if strings.Contains(plan, "Seq Scan on "+table) {
				t.Errorf("%s: %s", name, plan)
			}
		}
	}
}

// An audit reads the same in every query mode of pgx, some of which poolers need.
func TestAuditInEveryMode(t *testing.T) {
	k := tabletest.NewOutbox(t, 700)
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
		config, err := pgxpool.ParseConfig(devtest.Postgres(t).URL())
		if err != nil {
			t.Fatal(err)
		}
		config.ConnConfig.DefaultQueryExecMode = mode
		pool, err := pgxpool.NewWithConfig(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		rows, ids, planned := 0, 0, int64(0)
		err = audit.In(k.Table).Plan(t.Context(), pool, []int64{5, 650}, []int64{604, 900}, func(r audit.Row) {
			if r.Position == r.RowID && r.Key != 0 && r.ID != [16]byte{} {
				rows++
			}
		})
		if err == nil {
			err = audit.In(k.Table).IDs(t.Context(), pool, 11, 1000, func(int64) { ids++ })
		}
		if err == nil {
			err = audit.In(k.Table).PlannedIDs(t.Context(), pool, 1, 700, func(first, last int64) { planned += last - first + 1 })
		}
		pool.Close()
		if err != nil || rows != 600+51 || ids != 690 || planned != 700 {
			t.Errorf("%s: %d rows, %d ids, %d planned, %v", mode, rows, ids, planned, err)
		}
	}
}
