package outbox_test

import (
	"errors"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
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

func TestMigrateRefusesGapsAndTheFuture(t *testing.T) {
	table, pool := newTable(t)
	run(t, pool, table.SQL("INSERT INTO outbox.migration (version, name) VALUES (99, 'future')"))
	if _, err := table.Migrate(t.Context(), pool); !errors.Is(err, outbox.ErrMigrationGap) {
		t.Errorf("gap: %v", err)
	}
	run(t, pool, table.SQL("UPDATE outbox.migration SET version = (SELECT count(*) FROM outbox.migration) WHERE version = 99"))
	if err := table.CheckMigrated(t.Context(), pool); !errors.Is(err, outbox.ErrNewerSchema) {
		t.Errorf("future: %v", err)
	}
}

// What `migrate print` prints runs in psql as it is, and says the same as Migrate; so does a schema that needs quotes.
func TestMigrationSQLRunsInPsql(t *testing.T) {
	server := devtest.Postgres(t)
	psql, err := server.Bin("psql")
	if err != nil {
		t.Fatal(err)
	}
	pool := devtest.Pool(t)
	for _, suffix := range []string{"", "-Q$u"} {
		table, err := outbox.In(devtest.Schema(t) + suffix)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), psql, "-v", "ON_ERROR_STOP=1", "-q", server.URL())
		cmd.Stdin = strings.NewReader(table.MigrationSQL())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if err := table.CheckMigrated(t.Context(), pool); err != nil {
			t.Fatal(err)
		}
		if _, err := table.InsertOutsideTx(t.Context(), pool, outbox.Event{Subject: "a"}); err != nil {
			t.Fatal(err)
		}
		events, err := newSession(t, table, pool).Plan(t.Context(), outbox.Page{Events: 1, Bytes: 1})
		if err != nil || len(events) != 1 {
			t.Fatalf("planned %v, %v", events, err)
		}
		run(t, pool, `DROP SCHEMA "`+table.Schema()+`" CASCADE`)
	}
}

func TestSchemaNames(t *testing.T) {
	for name, valid := range map[string]bool{"outbox": true, "My-Box_2$": true, "": false, "a.b": false, `a"b`: false, "a'b": false, "1a": false, strings.Repeat("x", 49): false} {
		if _, err := outbox.In(name); (err == nil) != valid {
			t.Errorf("In(%q): %v, want valid %v", name, err, valid)
		}
	}
}

func TestExtendMakesPartitionsAhead(t *testing.T) {
	table, pool := newTable(t)
	if n, err := table.Extend(t.Context(), pool, outbox.DefaultRetention); n != 0 || err != nil {
		t.Fatalf("extended by %d, %v; want none to be needed", n, err)
	}
	run(t, pool, table.SQL("SELECT outbox.extend(1000, 2)"),
		table.SQL("SELECT setval(pg_get_serial_sequence('outbox.event', 'id'), 9000000)"),
		table.SQL("INSERT INTO outbox.event (subject) VALUES ('a')"))
	var home string
	if err := pool.QueryRow(t.Context(), table.SQL("SELECT tableoid::regclass::text FROM outbox.event")).Scan(&home); err != nil || !strings.HasSuffix(home, "event_default") {
		t.Fatalf("row beyond the last partition is in %s, %v; want the default one", home, err)
	}
}
