package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-6eff6314/outbox-relay/internal/report"
)

func TestTimelineIsDrawn(t *testing.T) {
	dir := t.TempDir()
	curve := report.TimelineCurve{Name: "heap", Minutes: []float64{0, 1, 2}, Values: []float64{1, 3, 2}}
	timeline := report.Timeline{
		Minutes: 2, Marks: []float64{0.5}, Mark: "relay killed", Shade: [2]float64{1, 1.5}, Shaded: "one long transaction",
		Plots: []report.TimelinePlot{{Title: "size", Unit: "MiB", Least: 1, Curves: []report.TimelineCurve{curve}}, {Title: "longest", Unit: "ms", Least: 1}},
	}
	if err := timeline.Write(filepath.Join(dir, "timeline.json")); err != nil {
		t.Fatal(err)
	}
	if err := run(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"size.svg", "size.png"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() < 1000 {
			t.Errorf("%s was not drawn: %v", name, err)
		}
	}
	if err := run(t.TempDir()); err == nil {
		t.Error("a folder without timeline.json gave no error")
	}
}
