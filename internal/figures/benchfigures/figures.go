// Package benchfigures draws the curves and ratios of package bench. Each figure is a PNG and an SVG, and does not depend on
// color: lines differ by dashes and marks, and the legend names them.
package benchfigures

import (
	"fmt"
	"image/color"
	"math"
	"path/filepath"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/seed-6eff6314/outbox-relay/internal/bench"
	"github.com/seed-6eff6314/outbox-relay/internal/figures/plots"
)

// Write draws every figure for which the report has results.
func Write(r *bench.Report, dir string) error {
	if len(r.Results) > 0 {
		p, err := ratios(r)
		if err == nil {
			err = plots.Save([]*plot.Plot{p}, filepath.Join(dir, "ratios"))
		}
		if err != nil {
			return fmt.Errorf("draw ratios: %w", err)
		}
	}
	for _, d := range r.Curves {
		if len(d.Points) == 0 {
			continue
		}
		figure, err := curve(d)
		if err == nil {
			err = plots.Save(figure, filepath.Join(dir, d.Curve))
		}
		if err != nil {
			return fmt.Errorf("draw %s: %w", d.Curve, err)
		}
	}
	return nil
}

// A style distinguishes a line by its color, dashes and marks.
type style struct {
	color  color.Color
	dashes []vg.Length
	mark   draw.GlyphDrawer
}

// styleOf returns the style of line i.
func styleOf(i int) style {
	styles := []style{ // colors of Okabe and Ito
		{color.RGBA{0, 0, 0, 255}, nil, draw.CircleGlyph{}},
		{color.RGBA{110, 110, 110, 255}, []vg.Length{vg.Points(6), vg.Points(3)}, draw.BoxGlyph{}},
		{color.RGBA{0, 114, 178, 255}, []vg.Length{vg.Points(2), vg.Points(2)}, draw.TriangleGlyph{}},
		{color.RGBA{213, 94, 0, 255}, []vg.Length{vg.Points(8), vg.Points(3), vg.Points(2), vg.Points(3)}, draw.CrossGlyph{}},
	}
	return styles[i%len(styles)]
}

// curve draws the metric of ours and of the floor, and below it the CPU time of a million events.
func curve(d *bench.CurveResult) ([]*plot.Plot, error) {
	metric := d.Metric()
	top := plots.New(d.Title, "", bench.Unit(metric))
	cost := plots.New("", d.Axis, "CPU, s per million events")
	least, most := math.Inf(1), 0.0
	for _, p := range d.Points {
		least, most = min(least, float64(p.X)), max(most, float64(p.X))
	}
	for _, p := range []*plot.Plot{top, cost} {
		if most/least > 20 {
			p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plots.Powers{}
		} else {
			p.X.Tick.Marker = values(d)
		}
		p.Legend.Top, p.Legend.Padding = true, vg.Points(2)
	}
	all := series(d)
	for i, name := range all {
		var ours, floor, cpu plotter.XYs
		for _, p := range d.Points {
			m := p.Ours(metric)
			if p.Series != name || m == nil {
				continue
			}
			ours = append(ours, plotter.XY{X: float64(p.X), Y: m.Value})
			cpu = append(cpu, plotter.XY{X: float64(p.X), Y: p.CPU()})
			if m.Floor > 0 {
				floor = append(floor, plotter.XY{X: float64(p.X), Y: m.Floor})
			}
		}
		for _, each := range []struct {
			plot   *plot.Plot
			points plotter.XYs
			name   string
			style  style
		}{{top, ours, "ours", styleOf(2 * i)}, {top, floor, "floor", styleOf(2*i + 1)}, {cost, cpu, "ours, all processes", styleOf(2 * i)}} {
			if err := line(each.plot, each.points, label(each.name, name), each.style); err != nil {
				return nil, err
			}
		}
	}
	for _, p := range []*plot.Plot{top, cost} {
		p.Y.Min, p.Y.Max = 0, p.Y.Max*(1.15+0.2*float64(len(all))) // room for the legend
	}
	return []*plot.Plot{top, cost}, nil
}

// label returns the name of a line in the legend.
func label(what, series string) string {
	if series == "" {
		return what
	}
	return what + ": " + series
}

// series returns the names of the series of a curve.
func series(d *bench.CurveResult) (names []string) {
	for _, p := range d.Points {
		if !slices.Contains(names, p.Series) {
			names = append(names, p.Series)
		}
	}
	return names
}

// line adds a line with marks to a plot and its legend. Without points it does nothing.
func line(p *plot.Plot, points plotter.XYs, name string, l style) error {
	if len(points) == 0 {
		return nil
	}
	curve, marks, err := plotter.NewLinePoints(points)
	if err != nil {
		return err
	}
	curve.Color, curve.Dashes, curve.Width = l.color, l.dashes, vg.Points(1.6)
	marks.Color, marks.Shape, marks.Radius = l.color, l.mark, vg.Points(3)
	p.Add(curve, marks)
	p.Legend.Add(name, curve, marks)
	return nil
}

// values returns a tick for each value of the curve.
func values(d *bench.CurveResult) plot.ConstantTicks {
	var ticks []plot.Tick
	for _, p := range d.Points {
		ticks = append(ticks, plot.Tick{Value: float64(p.X), Label: strconv.Itoa(p.X)})
	}
	return ticks
}
