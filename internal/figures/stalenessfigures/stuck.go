package stalenessfigures

import (
	"fmt"
	"image/color"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"

	"github.com/seed-6eff6314/outbox-relay/internal/figures/plots"
	"github.com/seed-6eff6314/outbox-relay/internal/staleness"
)

const leastStuck = 0.1 // lower end of the bars, per million

// stuck draws the keys that stayed stale per million values that updates made stale. An arm without such a key has an empty
// bar up to the upper bound with 95 % confidence.
func stuck(r *staleness.Report) ([]*plot.Plot, error) {
	p := plots.New("Keys that stay stale when all work is done", "", "per million values made stale")
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plots.Powers{}
	var nominal []string
	for i, arm := range r.Arms {
		at, top := float64(i), arm.StuckPerMillion
		if arm.Stuck == 0 {
			top = arm.StuckUpper
		}
		bar, err := plotter.NewPolygon(plotter.XYs{{X: at - 0.35, Y: leastStuck}, {X: at - 0.35, Y: top}, {X: at + 0.35, Y: top}, {X: at + 0.35, Y: leastStuck}})
		if err != nil {
			return nil, err
		}
		bar.LineStyle.Width = vg.Points(1)
		label := fmt.Sprintf("%.3g", top)
		bar.Color = color.Gray{150}
		if arm.Stuck == 0 {
			bar.Color, bar.LineStyle.Dashes = nil, []vg.Length{vg.Points(3), vg.Points(2)}
			label = fmt.Sprintf("0\n(≤ %.2g)", top)
		}
		p.Add(bar)
		if err := plots.Labels(p, plotter.XYs{{X: at, Y: top}}, []string{label}, color.Black, text.XCenter, vg.Points(3)); err != nil {
			return nil, err
		}
		nominal = append(nominal, arm.Name)
	}
	if len(nominal) == 0 {
		return nil, nil
	}
	p.NominalX(nominal...)
	p.Y.Min, p.Y.Max = leastStuck, 1e6
	return []*plot.Plot{p}, nil
}
