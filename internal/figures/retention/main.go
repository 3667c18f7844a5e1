// Command retention draws timeline.json of docs/retention, which the soak of the retention writes, as size.svg and size.png.
package main

import (
	"flag"
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"

	"github.com/seed-6eff6314/outbox-relay/internal/figures/plots"
	"github.com/seed-6eff6314/outbox-relay/internal/report"
)

func main() {
	dir := flag.String("dir", "docs/retention", "`FOLDER` of timeline.json and the figure")
	flag.Parse()
	if err := run(*dir); err != nil {
		fmt.Fprintln(os.Stderr, "retention:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	t, err := report.ReadTimeline(filepath.Join(dir, "timeline.json"))
	if err != nil {
		return err
	}
	var all []*plot.Plot
	for i, each := range t.Plots {
		p := plots.New(each.Title, "", each.Unit)
		if err := curves(p, t, each); err != nil {
			return err
		}
		if i == 0 {
			if err := explain(p, t); err != nil {
				return err
			}
		}
		all = append(all, p)
	}
	if len(all) == 0 {
		return fmt.Errorf("%s has no plots", filepath.Join(dir, "timeline.json"))
	}
	all[len(all)-1].X.Label.Text = "minutes"
	return plots.Save(all, filepath.Join(dir, "size"))
}

// curves adds the curves with a legend, and the marks as crosses on the axis.
func curves(p *plot.Plot, t *report.Timeline, each report.TimelinePlot) error {
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0, t.Minutes, 0, each.Least
	p.Legend.Top, p.Legend.Left = true, true
	for i, c := range each.Curves {
		points := make(plotter.XYs, len(c.Values))
		for j := range points {
			points[j] = plotter.XY{X: c.Minutes[j], Y: c.Values[j]}
			p.Y.Max = max(p.Y.Max, 1.3*c.Values[j])
		}
		line, err := plots.Curve(p, points, plots.StyleOf(i))
		if err != nil {
			return err
		}
		p.Legend.Add(c.Name, line)
	}
	var marks plotter.XYs
	for _, at := range t.Marks {
		marks = append(marks, plotter.XY{X: at})
	}
	return plots.Labels(p, marks, slices.Repeat([]string{"×"}, len(marks)), color.Black, text.XCenter, vg.Points(-4))
}

// explain shades a time, and explains the shade and the crosses.
func explain(p *plot.Plot, t *report.Timeline) error {
	from, to := t.Shade[0], t.Shade[1]
	area, err := plotter.NewPolygon(plotter.XYs{{X: from, Y: 0}, {X: from, Y: p.Y.Max}, {X: to, Y: p.Y.Max}, {X: to, Y: 0}})
	if err != nil {
		return err
	}
	area.Color, area.LineStyle.Width = color.NRGBA{A: 25}, vg.Points(0.5)
	p.Add(area)
	return plots.Labels(p, plotter.XYs{{X: from, Y: p.Y.Max * 0.62}, {X: t.Minutes / 2, Y: p.Y.Max * 0.02}},
		[]string{" " + t.Shaded, "  × " + t.Mark}, color.Black, text.XLeft, vg.Points(2))
}
