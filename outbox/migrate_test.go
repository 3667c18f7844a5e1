package outbox_test

import (
	"errors"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/internal/table/tabletest"
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

func TestMigrateConcurrentlyAndTwice(t *testing.T) {
	pool := devtest.Pool(t)
	table, err := outbox.In(devtest.Schema(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := table.CheckMigrated(t.Context(), pool); !errors.Is(err, outbox.ErrNotMigrated) || !strings.Contains(err.Error(), "outbox migrate up") {
		t.Fatalf("before: %v", err)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	applied := 0
	for range 4 {
		wg.Go(func() {
			done, err := table.Migrate(t.Context(), pool)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			applied += len(done)
		})
	}
	wg.Wait()
	list, err := table.MigrationStatus(t.Context(), pool)
	if err != nil || len(list) == 0 || applied != len(list) || list[0].AppliedAt.IsZero() {
		t.Fatalf("%d applied, status %+v, %v", applied, list, err)
	}
	if err := table.CheckMigrated(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
}

func TestMigrateRefusesGapsAndNewerSchemas(t *testing.T) {
	table, pool := tabletest.New(t)
	tabletest.Run(t, pool, table.SQL("INSERT INTO outbox.migration (version, name) VALUES (99, 'future')"))
	if _, err := table.Migrate(t.Context(), pool); !errors.Is(err, outbox.ErrMigrationGap) {
		t.Errorf("gap: %v", err)
	}
	tabletest.Run(t, pool, table.SQL("UPDATE outbox.migration SET version = (SELECT count(*) FROM outbox.migration) WHERE version = 99"))
	if err := table.CheckMigrated(t.Context(), pool); !errors.Is(err, outbox.ErrNewerSchema) {
		t.Errorf("future: %v", err)
	}
}

// MigrationSQL runs in psql and leaves what Migrate leaves, also for a schema whose name needs quotes.
func TestMigrationSQLRunsInPsql(t *testing.T) {
	server := devtest.Postgres(t)
	psql, err := server.Bin("psql")
	if err != nil {
		t.Fatal(err)
	}
	pool := devtest.Pool(t)
	for _, suffix := range []string{"", "-Q$u"} {
		tbl, err := table.In(devtest.Schema(t) + suffix)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), psql, "-v", "ON_ERROR_STOP=1", "-q", server.URL())
		cmd.Stdin = strings.NewReader(tbl.MigrationSQL())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if err := tbl.CheckMigrated(t.Context(), pool); err != nil {
			t.Fatal(err)
		}
		if _, err := tbl.InsertAndCommit(t.Context(), pool, outbox.Event{Subject: "a"}); err != nil {
			t.Fatal(err)
		}
		events, err := tabletest.Session(t, tbl, pool).Plan(t.Context(), table.Page{Events: 1, Bytes: 1})
		if err != nil || len(events) != 1 {
			t.Fatalf("planned %v, %v", events, err)
		}
		tabletest.Run(t, pool, `DROP SCHEMA "`+tbl.Schema()+`" CASCADE`)
	}
}

func TestSchemaNames(t *testing.T) {
	for name, valid := range map[string]bool{"outbox": true, "My-Box_2$": true, "": false, "a.b": false, `a"b`: false, "a'b": false, "1a": false, strings.Repeat("x", 49): false} {
		if _, err := outbox.In(name); (err == nil) != valid {
			t.Errorf("In(%q): %v, want valid %v", name, err, valid)
		}
	}
}
