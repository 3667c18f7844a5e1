package outbox_test

import (
	"io/fs"
	"os"
	"reflect"
	"strings"
	"testing"

	text "github.com/seed-6eff6314/outbox-relay/sql"
)

// Every statement prepares on a migrated schema, in the default one and in one that needs quotes, and begins with a
// comment that names it.
func TestEveryStatementPrepares(t *testing.T) {
	table, pool := newTable(t)
	q, err := text.For(table.Schema())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	statements := 0
	v := reflect.ValueOf(q)
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if name == "Schema" || name == "Channel" {
			continue
		}
		statements++
		if _, err := conn.Conn().Prepare(t.Context(), name, v.Field(i).String()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	files, err := fs.Glob(os.DirFS("../sql"), "queries/*.sql")
	if err != nil || len(files) != statements {
		t.Errorf("%d files, %d statements (%v)", len(files), statements, err)
	}
	for _, file := range files {
		body, err := os.ReadFile("../sql/" + file)
		if err != nil {
			t.Fatal(err)
		}
		want := "-- " + strings.TrimSuffix(strings.TrimPrefix(file, "queries/"), ".sql") + ":"
		if !strings.HasPrefix(string(body), want) {
			t.Errorf("%s begins with %.40q, want %q", file, body, want)
		}
	}
}
