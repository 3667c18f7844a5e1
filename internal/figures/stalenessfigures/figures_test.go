package stalenessfigures

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/staleness"
)

// TestWrite draws two arms, one of them without a stuck key.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	report := &staleness.Report{Arms: []*staleness.Result{
		{
			Name: "C", Title: "one delete", Stuck: 12, StuckPerMillion: 100, StuckUpper: 160, Bound: 3 * time.Second,
			Survival: []staleness.Point{{Longer: 0.001, Million: 50_000}, {Longer: 1, Million: 900}, {Longer: 20, Million: 3}},
			Seconds:  []staleness.Second{{Stale: 3, Longest: 4 * time.Second}, {Stale: 1, Longest: time.Second}},
			Faults:   []staleness.Window{{Fault: "relay killed", From: time.Second, To: 2 * time.Second}},
		},
		{Name: "D", Title: "echo", StuckUpper: 2.5, Bound: 8 * time.Second, Survival: []staleness.Point{{Longer: 0.001, Million: 50_000}, {Longer: 3, Million: 1}}},
	}}
	if err := Write(report, dir); err != nil {
		t.Fatal(err)
	}
	for name, begin := range map[string]string{"survival.png": "\x89PNG", "stuck.svg": "<?xml", "time.png": "\x89PNG"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.HasPrefix(data, []byte(begin)) {
			t.Errorf("%s: %v, begins with %q", name, err, data[:min(len(data), 10)])
		}
	}
}
