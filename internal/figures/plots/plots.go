// Package plots draws lines that do not depend on color, in several plots above each other, as PNG and SVG.
package plots

import (
	"image/color"
	"math"
	"os"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// A Style distinguishes a line by its color and dashes.
type Style struct {
	Color  color.Color
	Dashes []vg.Length
}

// StyleOf returns the style of line i. There are six.
func StyleOf(i int) Style {
	styles := []Style{ // colors of Okabe and Ito
		{color.RGBA{0, 0, 0, 255}, nil},
		{color.RGBA{213, 94, 0, 255}, []vg.Length{vg.Points(6), vg.Points(3)}},
		{color.RGBA{0, 114, 178, 255}, []vg.Length{vg.Points(2), vg.Points(2)}},
		{color.RGBA{0, 158, 115, 255}, []vg.Length{vg.Points(8), vg.Points(3), vg.Points(2), vg.Points(3)}},
		{color.RGBA{204, 121, 167, 255}, []vg.Length{vg.Points(4), vg.Points(2)}},
		{color.RGBA{120, 90, 0, 255}, []vg.Length{vg.Points(1), vg.Points(3)}},
	}
	return styles[i%len(styles)]
}

// New returns an empty plot with a grid.
func New(title, x, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Title.Padding = vg.Points(6)
	p.BackgroundColor = color.White
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{225}, color.Gray{225}
	p.Add(grid)
	return p
}

// Curve adds a line through points.
func Curve(p *plot.Plot, points plotter.XYs, l Style) (*plotter.Line, error) {
	line, err := plotter.NewLine(points)
	if err != nil {
		return nil, err
	}
	line.Color, line.Dashes, line.Width = l.Color, l.Dashes, vg.Points(1.6)
	p.Add(line)
	return line, nil
}

// Labels adds texts, each above its point by up.
func Labels(p *plot.Plot, at plotter.XYs, texts []string, c color.Color, align text.XAlignment, up vg.Length) error {
	l, err := plotter.NewLabels(plotter.XYLabels{XYs: at, Labels: texts})
	if err != nil {
		return err
	}
	for i := range l.TextStyle {
		l.TextStyle[i].Color, l.TextStyle[i].XAlign = c, align
		l.TextStyle[i].Font.Size = vg.Points(10)
	}
	l.Offset.Y = up
	p.Add(l)
	return nil
}

// Every is a plot.Ticker with ticks at the multiples of a number.
type Every int

// Ticks implements plot.Ticker.
func (n Every) Ticks(least, most float64) (ticks []plot.Tick) {
	for at := 0; float64(at) <= most; at += int(n) {
		if float64(at) >= least {
			ticks = append(ticks, plot.Tick{Value: float64(at), Label: strconv.Itoa(at)})
		}
	}
	return ticks
}

// Powers is a plot.Ticker with labels at the powers of ten.
type Powers struct{}

// Ticks implements plot.Ticker.
func (Powers) Ticks(least, most float64) (ticks []plot.Tick) {
	for e := math.Floor(math.Log10(least)); e <= math.Ceil(math.Log10(most)); e++ {
		value := math.Pow(10, e)
		ticks = append(ticks, plot.Tick{Value: value, Label: strconv.FormatFloat(value, 'f', -1, 64)})
		for m := 2.0; m < 10; m++ {
			ticks = append(ticks, plot.Tick{Value: m * value})
		}
	}
	return ticks
}

// Save writes the plots, one above the other, to path.svg and path.png.
func Save(plots []*plot.Plot, path string) error {
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
		file, err := os.Create(each.name) // #nosec G304 -- the caller chooses the file
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
