package staleness

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestReport replaces the result of an arm, and keeps the other arms in their order and the text around the tables.
func TestReport(t *testing.T) {
	dir := t.TempDir()
	readme := filepath.Join(dir, "README.md")
	if err := os.WriteFile(readme, []byte("before\n<!-- results -->\nold\n<!-- end of results -->\nafter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	order := []string{"A", "B"}
	for _, one := range []*Result{{Name: "B", Stuck: 1}, {Name: "A", Invalidations: 1_234_567, Longest: 1500 * time.Millisecond}, {Name: "B", Stuck: 2}} {
		r, err := ReadReport(dir)
		if err != nil {
			t.Fatal(err)
		}
		r.Add(one, Full(), order)
		if err := r.Write(dir); err != nil {
			t.Fatal(err)
		}
	}
	r, err := ReadReport(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Arms) != 2 || r.Arms[0].Name != "A" || r.Arm("B").Stuck != 2 || r.Arm("C") != nil {
		t.Errorf("arms %v", r.Arms)
	}
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	if !strings.HasPrefix(page, "before\n") || !strings.HasSuffix(page, "\nafter\n") || strings.Contains(page, "old") ||
		!strings.Contains(page, "1,234,567") || !strings.Contains(page, "1.5 s") || strings.Count(page, "| **A** ") != 2 {
		t.Errorf("the page is\n%s", page)
	}
}
