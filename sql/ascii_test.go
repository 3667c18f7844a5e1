package sql_test

import (
	"io/fs"
	"os"
	"strings"
	"testing"
)

// Every SQL file is ASCII: it must run in a psql whose client encoding is not UTF-8.
func TestFilesAreASCII(t *testing.T) {
	files := 0
	err := fs.WalkDir(os.DirFS("."), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".sql") {
			return err
		}
		files++
		body, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for n, line := range strings.Split(string(body), "\n") {
			if i := strings.IndexFunc(line, func(r rune) bool { return r > '~' || r < ' ' }); i >= 0 {
				t.Errorf("%s:%d: %q is not printable ASCII", path, n+1, line[i:])
			}
		}
		return nil
	})
	if err != nil || files == 0 {
		t.Fatalf("%d files, %v", files, err)
	}
}
