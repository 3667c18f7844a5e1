// Package stalenessfigures draws the results of the staleness experiment. Each figure is a PNG and an SVG, and does not depend
// on color: lines carry the names of their arms, and bars their numbers.
package stalenessfigures

import (
	"fmt"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"

	"github.com/seed-6eff6314/outbox-relay/internal/figures/plots"
	"github.com/seed-6eff6314/outbox-relay/internal/staleness"
)

// Write draws every figure for which the report has arms.
func Write(r *staleness.Report, dir string) error {
	for name, draw := range map[string]func(*staleness.Report) ([]*plot.Plot, error){
		"survival": survival, "stuck": stuck, "time": overTime,
	} {
		drawn, err := draw(r)
		if err == nil && len(drawn) > 0 {
			err = plots.Save(drawn, filepath.Join(dir, name))
		}
		if err != nil {
			return fmt.Errorf("draw %s: %w", name, err)
		}
	}
	return nil
}

// shown are the arms of the survival curve. The others are variants of them.
var shown = []string{"A", "A2", "B", "C", "D", "E"}

// survival draws how many reads found a value that had been stale for longer than some time.
func survival(r *staleness.Report) ([]*plot.Plot, error) {
	p := plots.New("How many reads are stale for longer than …", "stale for longer than (s)", "reads per million")
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = plots.Powers{}, plots.Powers{}
	p.Legend.Top, p.Legend.Left = false, true
	drawn := 0
	for i, name := range shown {
		arm := r.Arm(name)
		if arm == nil || len(arm.Survival) == 0 {
			continue
		}
		var points plotter.XYs
		for _, s := range arm.Survival {
			points = append(points, plotter.XY{X: s.Longer, Y: s.Million})
		}
		line, err := plots.Curve(p, points, plots.StyleOf(i))
		if err != nil {
			return nil, err
		}
		p.Legend.Add(name+": "+arm.Title, line)
		if err := names(p, points, name, plots.StyleOf(i), i); err != nil {
			return nil, err
		}
		drawn++
	}
	if drawn == 0 {
		return nil, nil
	}
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 1e-3, 300, 0.3, 1e6
	return []*plot.Plot{p}, nil
}

// names writes the name of a line at its end, and once more at a position that differs by line, so that names do not overlap.
func names(p *plot.Plot, points plotter.XYs, name string, l plots.Style, i int) error {
	var at plotter.XYs
	at = append(at, points[int((0.3+0.07*float64(i))*float64(len(points)-1))], points[len(points)-1])
	return plots.Labels(p, at, []string{name, name}, l.Color, text.XLeft, vg.Points(4))
}
