package figures

import (
	"image/color"
	"math"
	"os"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/seed-6eff6314/outbox-relay/internal/staleness"
)

const mostSeconds = 60 // of the figure over time

// overTime shows the longest staleness found in each second, one arm above the other, with the faults.
func overTime(r *staleness.Report) (plots []*plot.Plot, err error) {
	for _, name := range []string{"C", "D"} {
		arm := r.Arm(name)
		if arm == nil {
			continue
		}
		p := newPlot(name+": "+arm.Title, "", "longest staleness found (s)")
		var points plotter.XYs
		top := 0.0
		for i, s := range arm.Seconds[:min(len(arm.Seconds), mostSeconds)] {
			points = append(points, plotter.XY{X: float64(i) + 0.5, Y: s.Longest.Seconds()})
			top = math.Max(top, s.Longest.Seconds())
		}
		p.X.Tick.Marker, p.Y.Tick.Marker = every(10), every(5)
		p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0, mostSeconds, 0, 1.35*math.Max(top, arm.Bound.Seconds())
		if err := marks(p, arm); err != nil {
			return nil, err
		}
		if _, err := curve(p, points, lookOf(0)); err != nil {
			return nil, err
		}
		bound := plotter.NewFunction(func(float64) float64 { return arm.Bound.Seconds() })
		bound.Dashes = lookOf(2).dashes
		p.Add(bound)
		if err := labels(p, plotter.XYs{{X: 0.5, Y: arm.Bound.Seconds()}}, []string{"its bound"}, color.Black, 0, vg.Points(2)); err != nil {
			return nil, err
		}
		plots = append(plots, p)
	}
	if len(plots) > 0 {
		plots[len(plots)-1].X.Label.Text = "seconds"
	}
	return plots, nil
}

// marks draws from when to when something was broken.
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
		if err := labels(p, plotter.XYs{{X: to, Y: p.Y.Max * 0.84}}, []string{" " + strings.ReplaceAll(what, "\n", "\n ")}, color.Black, 0, 0); err != nil {
			return err
		}
	}
	return nil
}

// every marks the multiples of a number.
type every int

// Ticks returns them.
func (n every) Ticks(least, most float64) (ticks []plot.Tick) {
	for at := 0; float64(at) <= most; at += int(n) {
		if float64(at) >= least {
			ticks = append(ticks, plot.Tick{Value: float64(at), Label: strconv.Itoa(at)})
		}
	}
	return ticks
}

// save writes the plots, one above the other.
func save(plots []*plot.Plot, path string) error {
	const width, height = 22 * vg.Centimeter, 12 * vg.Centimeter
	tall := height
	if len(plots) > 1 {
		tall = vg.Length(len(plots)) * 8 * vg.Centimeter
	}
	svg := vgsvg.New(width, tall)
	png := vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(width, tall), vgimg.UseDPI(110))}
	for _, each := range []struct {
		canvas vg.CanvasWriterTo
		name   string
	}{{svg, path + ".svg"}, {png, path + ".png"}} {
		tiles := draw.Tiles{Rows: len(plots), Cols: 1, PadTop: vg.Points(6), PadBottom: vg.Points(6), PadLeft: vg.Points(6), PadRight: vg.Points(12), PadY: vg.Points(8)}
		var rows [][]*plot.Plot
		for _, p := range plots {
			rows = append(rows, []*plot.Plot{p})
		}
		for i, row := range plot.Align(rows, tiles, draw.New(each.canvas.(vg.CanvasSizer))) {
			plots[i].Draw(row[0])
		}
		file, err := os.Create(each.name) // #nosec G304 -- where the caller wants it
		if err != nil {
			return err
		}
		if _, err := each.canvas.WriteTo(file); err != nil {
			_ = file.Close()
			return err
		}
		if err := file.Close(); err != nil {
			return err
		}
	}
	return nil
}
