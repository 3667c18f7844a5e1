package stalenessfigures

import (
	"image/color"
	"math"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/seed-6eff6314/outbox-relay/internal/figures/plots"
	"github.com/seed-6eff6314/outbox-relay/internal/staleness"
)

const mostSeconds = 60 // length of the time axis

// overTime draws the longest staleness found in each second of two arms, with their faults.
func overTime(r *staleness.Report) (drawn []*plot.Plot, err error) {
	for _, name := range []string{"C", "D"} {
		arm := r.Arm(name)
		if arm == nil {
			continue
		}
		p := plots.New(name+": "+arm.Title, "", "longest staleness found (s)")
		var points plotter.XYs
		top := 0.0
		for i, s := range arm.Seconds[:min(len(arm.Seconds), mostSeconds)] {
			points = append(points, plotter.XY{X: float64(i) + 0.5, Y: s.Longest.Seconds()})
			top = math.Max(top, s.Longest.Seconds())
		}
		p.X.Tick.Marker, p.Y.Tick.Marker = plots.Every(10), plots.Every(5)
		p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0, mostSeconds, 0, 1.35*math.Max(top, arm.Bound.Seconds())
		if err := marks(p, arm); err != nil {
			return nil, err
		}
		if _, err := plots.Curve(p, points, plots.StyleOf(0)); err != nil {
			return nil, err
		}
		bound := plotter.NewFunction(func(float64) float64 { return arm.Bound.Seconds() })
		bound.Dashes = plots.StyleOf(2).Dashes
		p.Add(bound)
		if err := plots.Labels(p, plotter.XYs{{X: 0.5, Y: arm.Bound.Seconds()}}, []string{"its bound"}, color.Black, 0, vg.Points(2)); err != nil {
			return nil, err
		}
		drawn = append(drawn, p)
	}
	if len(drawn) > 0 {
		drawn[len(drawn)-1].X.Label.Text = "seconds"
	}
	return drawn, nil
}

// marks shades the time of each fault and names it.
func marks(p *plot.Plot, arm *staleness.Result) error {
	for _, w := range arm.Faults {
		from, to := w.From.Seconds(), w.To.Seconds()
		if to > mostSeconds {
			break
		}
		area, err := plotter.NewPolygon(plotter.XYs{{X: from, Y: 0}, {X: from, Y: p.Y.Max}, {X: to, Y: p.Y.Max}, {X: to, Y: 0}})
		if err != nil {
			return err
		}
		area.Color = color.Gray{215}
		area.LineStyle.Width = vg.Points(0.5)
		p.Add(area)
		words := strings.Fields(w.Fault)
		what := strings.Join(words[:min(len(words), 2)], "\n")
		if err := plots.Labels(p, plotter.XYs{{X: to, Y: p.Y.Max * 0.84}}, []string{" " + strings.ReplaceAll(what, "\n", "\n ")}, color.Black, 0, 0); err != nil {
			return err
		}
	}
	return nil
}
