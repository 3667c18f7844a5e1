package table_test

import (
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/seed-6eff6314/outbox-relay/internal/table/tabletest"
)

// Every statement prepares on a migrated schema whose name is not the default one, and begins with a comment that
// names it.
func TestEveryStatementPrepares(t *testing.T) {
	tbl, pool := tabletest.New(t)
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	files, err := fs.Glob(os.DirFS("../../sql"), "queries/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		body, err := os.ReadFile("../../sql/" + file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(strings.TrimPrefix(file, "queries/"), ".sql")
		if !strings.HasPrefix(string(body), "-- "+name+":") {
			t.Errorf("%s begins with %.40q, want %q", file, body, "-- "+name+":")
		}
		if _, err := conn.Conn().Prepare(t.Context(), name, tbl.SQL(string(body))); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}
