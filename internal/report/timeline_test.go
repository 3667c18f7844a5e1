package report_test

import (
	"path/filepath"
	"reflect"
	"testing"

	"github.com/seed-6eff6314/outbox-relay/internal/report"
)

// What draws a timeline reads exactly what a test wrote.
func TestTimelineIsReadAsWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "timeline.json")
	want := &report.Timeline{
		Minutes: 2, Marks: []float64{0.5}, Mark: "relay killed", Shade: [2]float64{1, 1.5}, Shaded: "one long transaction",
		Plots: []report.TimelinePlot{{Title: "size", Unit: "MiB", Least: 1, Curves: []report.TimelineCurve{{Name: "heap", Minutes: []float64{0, 1, 2}, Values: []float64{1, 3, 2}}}}},
	}
	if err := want.Write(path); err != nil {
		t.Fatal(err)
	}
	got, err := report.ReadTimeline(path)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	if _, err := report.ReadTimeline(filepath.Join(t.TempDir(), "none.json")); err == nil {
		t.Error("a missing file gave no error")
	}
}
