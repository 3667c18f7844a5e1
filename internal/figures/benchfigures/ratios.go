package benchfigures

import (
	"fmt"
	"image/color"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/seed-6eff6314/outbox-relay/internal/bench"
	"github.com/seed-6eff6314/outbox-relay/internal/figures/plots"
)

// ratios draws the ratio of ours to the floor for each measure with a target: the median as a dot with its number, and the
// spread as a bar. The name of a row contains the target.
func ratios(r *bench.Report) (*plot.Plot, error) {
	p := plots.New("Ours ÷ floor", "ratio; the bar spans all pairs of runs", "")
	var names []string
	for i := len(r.Results) - 1; i >= 0; i-- {
		for _, m := range r.Results[i].Measures {
			if m.Want == "" || m.Ratio == 0 {
				continue
			}
			y := float64(len(names))
			names = append(names, fmt.Sprintf("%s, %s\n%s", r.Results[i].Scenario, bench.Unit(m.Metric), m.Want))
			bar, err := plotter.NewLine(plotter.XYs{{X: m.RatioLeast, Y: y}, {X: m.RatioMost, Y: y}})
			if err != nil {
				return nil, err
			}
			bar.Width, bar.Color = vg.Points(5), color.Gray{175}
			dot, err := plotter.NewScatter(plotter.XYs{{X: m.Ratio, Y: y}})
			if err != nil {
				return nil, err
			}
			dot.Shape, dot.Radius, dot.Color = draw.CircleGlyph{}, vg.Points(3.5), color.Black
			number, err := plotter.NewLabels(plotter.XYLabels{XYs: plotter.XYs{{X: m.Ratio, Y: y}}, Labels: []string{fmt.Sprintf("%.2f", m.Ratio)}})
			if err != nil {
				return nil, err
			}
			number.TextStyle[0].XAlign, number.Offset.Y = text.XCenter, vg.Points(6)
			p.Add(bar, dot, number)
		}
	}
	one, err := plotter.NewLine(plotter.XYs{{X: 1, Y: -0.5}, {X: 1, Y: float64(len(names)) - 0.5}})
	if err != nil {
		return nil, err
	}
	one.Dashes = []vg.Length{vg.Points(3), vg.Points(3)}
	p.Add(one)
	if len(names) > 0 {
		p.NominalY(names...)
	}
	p.X.Min, p.Y.Min, p.Y.Max = 0, -0.5, max(float64(len(names))-0.3, 0.5)
	p.X.Max = max(p.X.Max*1.05, 1.2)
	return p, nil
}
