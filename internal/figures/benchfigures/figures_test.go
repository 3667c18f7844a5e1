package benchfigures

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-6eff6314/outbox-relay/internal/bench"
)

// TestWrite draws a curve and the ratios.
func TestWrite(t *testing.T) {
	result := func(rate float64) *bench.Result {
		return &bench.Result{
			Scenario: "drain",
			Measures: []bench.Measure{{Arm: "ours", Metric: "events_per_second", Floor: 100, Value: rate, Ratio: rate / 100, RatioLeast: 0.5, RatioMost: 1, Want: "ratio >= 0.90"}},
			Arms:     []bench.Use{{Arm: "ours", CPU: map[string]float64{"outbox": 3, "nats": 4, "rest": 50}}},
		}
	}
	dir := t.TempDir()
	report := &bench.Report{Results: []*bench.Result{result(90)}, Curves: []*bench.CurveResult{
		{Curve: "payload", Title: "Rate of a backlog by payload", Axis: "bytes", Points: []bench.Point{{X: 100, Result: result(90)}, {X: 65536, Result: result(10)}}},
		{Curve: "relays", Title: "Relays", Axis: "relays", Points: []bench.Point{{Series: "a", X: 1, Result: result(90)}, {Series: "b", X: 8, Result: result(95)}}},
		{Curve: "empty"},
	}}
	if err := Write(report, dir); err != nil {
		t.Fatal(err)
	}
	for name, begin := range map[string]string{"payload.png": "\x89PNG", "relays.svg": "<?xml", "ratios.png": "\x89PNG"} {
		data, err := os.ReadFile(filepath.Join(dir, name)) // #nosec G304 -- of this test
		if err != nil || !bytes.HasPrefix(data, []byte(begin)) {
			t.Errorf("%s: %v, begins with %q", name, err, data[:min(len(data), 10)])
		}
	}
}
