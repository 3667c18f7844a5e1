package arch_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// pathRow is a row of the table "A stranger's path through the relay" in ARCHITECTURE.md.
var pathRow = regexp.MustCompile("(?m)^\\| `(relay/[a-z_]+\\.go)` \\| (\\d+) \\|")

// TestPathThroughTheRelay checks that the files for the way of an event can be read in an afternoon, and that the page which lists them
// has their sizes.
func TestPathThroughTheRelay(t *testing.T) {
	const most, tolerance = 1500, 20 // lines
	root := filepath.Join("..", "..")
	page, err := os.ReadFile(filepath.Join(root, "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := pathRow.FindAllSubmatch(page, -1)
	if len(rows) < 10 {
		t.Fatalf("ARCHITECTURE.md lists %d files, want the path through the relay", len(rows))
	}
	total := 0
	for _, row := range rows {
		source, err := os.ReadFile(filepath.Join(root, string(row[1]))) // #nosec G304 -- a file of this module
		if err != nil {
			t.Fatal(err)
		}
		lines := bytes.Count(source, []byte("\n"))
		total += lines
		if listed, _ := strconv.Atoi(string(row[2])); lines < listed-tolerance || lines > listed+tolerance {
			t.Errorf("%s has %d lines, and ARCHITECTURE.md lists %d", row[1], lines, listed)
		}
	}
	if total > most {
		t.Errorf("the path through the relay has %d lines, want at most %d", total, most)
	}
	t.Logf("%d files, %d lines", len(rows), total)
}
