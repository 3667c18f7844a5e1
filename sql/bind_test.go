package sql_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-6eff6314/outbox-relay/sql"
)

func TestBindFillsByNameAndByTag(t *testing.T) {
	q, err := sql.Bind[struct {
		DeadRows string
		One      string `sql:"trail_id"`
		Facts    string `sql:"doctor/table"`
	}]("My-Box")
	if err != nil {
		t.Fatal(err)
	}
	for got, want := range map[string]string{q.DeadRows: "-- dead_rows:", q.One: "-- trail_id:", q.Facts: "-- table:"} {
		if !strings.HasPrefix(got, want) {
			t.Errorf("got %.30q, want %q", got, want)
		}
	}
	if !strings.Contains(q.DeadRows, `"My-Box".event`) || strings.Contains(q.DeadRows, "outbox.event") {
		t.Errorf("not in its schema: %s", q.DeadRows)
	}
	if _, err := sql.Bind[struct{ DeadRows string }]("no.schema"); err == nil {
		t.Error("want an error for a schema name with a dot")
	}
}

// Each field of a room's statements has a file, and each file is a statement of a room.
func TestEveryFileHasARoom(t *testing.T) {
	used := make(map[string][]string) // rooms by file
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, file := range bound(t, source) {
			used[file] = append(used[file], filepath.Dir(path))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for file, rooms := range used {
		if _, err := os.Stat(file); err != nil {
			t.Errorf("%v: %v", rooms, err)
		}
	}
	for _, pattern := range []string{"queries/*.sql", "doctor/*.sql"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%d files %s, %v", len(files), pattern, err)
		}
		for _, file := range files {
			if used[filepath.ToSlash(file)] == nil {
				t.Errorf("%s is a statement of no room", file)
			}
		}
	}
}

// bound returns the files of the struct types called statements.
func bound(t *testing.T, source *ast.File) (files []string) {
	ast.Inspect(source, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok || spec.Name.Name != "statements" {
			return true
		}
		for _, field := range spec.Type.(*ast.StructType).Fields.List {
			var tag string
			if field.Tag != nil {
				var err error
				if tag, err = strconv.Unquote(field.Tag.Value); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range field.Names {
				files = append(files, sql.File(name.Name, reflect.StructTag(tag)))
			}
		}
		return false
	})
	return files
}
