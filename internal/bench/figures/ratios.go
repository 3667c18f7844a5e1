package figures

import (
	"fmt"
	"image/color"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/seed-6eff6314/outbox-relay/internal/bench"
)

// ratios shows ours beside the floor for each measure that has a target: the median as a dot with its number, the spread as
// a bar, what is wanted as the name says.
func ratios(r *bench.Report) (*plot.Plot, error) {
	p := newPlot("Ours ÷ floor", "ratio; the bar spans all pairs of runs", "")
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

// save writes the plots, one above the other.
func save(plots []*plot.Plot, path string) error {
	const width = 20 * vg.Centimeter
	tall := 13 * vg.Centimeter
	if len(plots) > 1 {
		tall = vg.Length(len(plots)) * 8 * vg.Centimeter
	}
	svg := vgsvg.New(width, tall)
	png := vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(width, tall), vgimg.UseDPI(110))}
	for _, each := range []struct {
		canvas vg.CanvasWriterTo
		sized  vg.CanvasSizer
		name   string
	}{{svg, svg, path + ".svg"}, {png, png, path + ".png"}} {
		tiles := draw.Tiles{Rows: len(plots), Cols: 1, PadTop: vg.Points(6), PadBottom: vg.Points(6), PadLeft: vg.Points(6), PadRight: vg.Points(14), PadY: vg.Points(8)}
		var rows [][]*plot.Plot
		for _, p := range plots {
			rows = append(rows, []*plot.Plot{p})
		}
		for i, row := range plot.Align(rows, tiles, draw.New(each.sized)) {
			plots[i].Draw(row[0])
		}
		if err := write(each.canvas, each.name); err != nil {
			return err
		}
	}
	return nil
}

func write(canvas vg.CanvasWriterTo, name string) error {
	file, err := os.Create(name) // #nosec G304 -- where the caller wants it
	if err != nil {
		return err
	}
	if _, err := canvas.WriteTo(file); err != nil {
		_ = file.Close()
		return err
	}
	return file.Close()
}
