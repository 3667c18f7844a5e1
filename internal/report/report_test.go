package report_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/report"
)

func TestJSONRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results.json")
	got := map[string]int{"unchanged": 1}
	if err := report.ReadJSON(path, &got); err != nil || got["unchanged"] != 1 {
		t.Errorf("a missing file: %v, %v; want no change", got, err)
	}
	if err := report.WriteJSON(path, map[string]int{"a": 2}); err != nil {
		t.Fatal(err)
	}
	if err := report.ReadJSON(path, &got); err != nil || got["a"] != 2 {
		t.Errorf("read %v, %v", got, err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := report.ReadJSON(path, &got); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a damaged file: %v; want an error that names it", err)
	}
}

func TestUpdatePage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "README.md")
	if err := report.UpdatePage(path, report.Section{Name: "one"}); err != nil {
		t.Errorf("a missing page: %v; want no error", err)
	}
	const page = "before\n<!-- one -->\nold\n<!-- end of one -->\nbetween\n<!-- two --><!-- end of two -->\nafter\n"
	if err := os.WriteFile(path, []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := report.UpdatePage(path, report.Section{Name: "one", Text: "1"}, report.Section{Name: "three"}); err == nil {
		t.Error("a missing marker: no error")
	}
	if err := report.UpdatePage(path, report.Section{Name: "one", Text: "\nfirst\n"}, report.Section{Name: "two", Text: "second"}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path) // #nosec G304 -- of this test
	if err != nil {
		t.Fatal(err)
	}
	const want = "before\n<!-- one -->\n\nfirst\n\n<!-- end of one -->\nbetween\n<!-- two -->\n\nsecond\n\n<!-- end of two -->\nafter\n"
	if string(got) != want {
		t.Errorf("the page is\n%s\nwant\n%s", got, want)
	}
}

func TestTable(t *testing.T) {
	table := report.NewTable("lr", "what", "how many")
	table.Row("events", 12)
	table.Row("keys", report.Thousands(3400))
	if got, want := table.String(), "| what | how many |\n|---|--:|\n| events | 12 |\n| keys | 3,400 |\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -4321: "-4,321", -100: "-100"} {
		if got := report.Thousands(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestQuantile(t *testing.T) {
	var times []time.Duration
	for i := range 1000 {
		times = append(times, time.Duration(i+1)*time.Millisecond)
	}
	for q, want := range map[float64]time.Duration{0.5: 500 * time.Millisecond, 0.999: 999 * time.Millisecond, 1: time.Second} {
		if got := report.Quantile(times, q); got != want {
			t.Errorf("quantile %v: %s, want %s", q, got, want)
		}
	}
	if got := report.Quantile(nil, 1); got != 0 {
		t.Errorf("of no durations: %s, want 0", got)
	}
}
