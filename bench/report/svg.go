package report

import (
	"fmt"
	"html/template"
	"math"
	"strings"
)

// chart is a picture of lines in SVG, with axes that may be logarithmic. Colours are classes, s0, s1…, which the page's
// style sheet knows in light, in dark and on paper.
type chart struct {
	title, x, y string
	xLog, yLog  bool
	xText       func(float64) string // of a tick
	yText       func(float64) string
	xTicks      []float64 // nil: chosen
	series      []series
}

type series struct {
	name   string
	class  int
	points [][2]float64
}

// Size of a chart, and what its axes take.
const (
	chartWidth, chartHeight                          = 480, 300
	marginLeft, marginRight, marginTop, marginBottom = 74, 22, 12, 44
)

// axis maps values to one side of the picture.
type axis struct {
	log        bool
	low, high  float64
	from, over float64 // pixels
}

func newAxis(log bool, values []float64, from, over float64) axis {
	a := axis{log: log, low: math.Inf(1), high: math.Inf(-1), from: from, over: over}
	for _, v := range values {
		if log && v <= 0 {
			continue
		}
		a.low, a.high = min(a.low, v), max(a.high, v)
	}
	switch {
	case math.IsInf(a.low, 1):
		a.low, a.high = 1, 10
	case log && a.high/a.low < 10: // a small difference is to look small
		middle := math.Sqrt(a.low * a.high)
		a.low, a.high = middle/math.Sqrt(10), middle*math.Sqrt(10)
	case log:
		a.low, a.high = a.low/1.1, a.high*1.1
	case a.low == a.high:
		a.low, a.high = a.low-1, a.high+1
	}
	if !log {
		a.low = min(a.low, 0)
	}
	return a
}

func (a axis) at(v float64) float64 {
	low, high := a.low, a.high
	if a.log {
		v, low, high = math.Log(max(v, a.low)), math.Log(low), math.Log(high)
	}
	return a.from + a.over*(v-low)/(high-low)
}

// ticks are powers of ten with 2 and 5 between them if there is room, or round steps.
func (a axis) ticks() (ticks []float64) {
	if !a.log {
		step := math.Pow(10, math.Floor(math.Log10((a.high-a.low)/2)))
		for (a.high-a.low)/step > 6 {
			step *= 2
		}
		for v := math.Ceil(a.low/step) * step; v <= a.high; v += step {
			ticks = append(ticks, v)
		}
		return ticks
	}
	factors := []float64{1, 2, 5}
	switch {
	case a.high/a.low > 200:
		factors = factors[:1]
	case a.high/a.low < 12:
		factors = []float64{1, 2, 3, 5, 7}
	}
	for p := math.Floor(math.Log10(a.low)); p <= math.Log10(a.high); p++ {
		for _, f := range factors {
			if v := f * math.Pow(10, p); v >= a.low && v <= a.high {
				ticks = append(ticks, v)
			}
		}
	}
	return ticks
}

// svg draws it.
func (c *chart) svg() template.HTML {
	var xs, ys []float64
	for _, s := range c.series {
		for _, p := range s.points {
			xs, ys = append(xs, p[0]), append(ys, p[1])
		}
	}
	x := newAxis(c.xLog, xs, marginLeft, chartWidth-marginLeft-marginRight)
	y := newAxis(c.yLog, ys, chartHeight-marginBottom, -(chartHeight - marginTop - marginBottom))
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img" aria-label="%s">`, chartWidth, chartHeight, template.HTMLEscapeString(c.title))
	for _, v := range y.ticks() {
		at := y.at(v)
		fmt.Fprintf(&b, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text class="tick" text-anchor="end" x="%d" y="%.1f">%s</text>`,
			marginLeft, chartWidth-marginRight, at, at, marginLeft-6, at+4, template.HTMLEscapeString(c.yText(v)))
	}
	ticks := c.xTicks
	if ticks == nil {
		ticks = x.ticks()
	}
	for _, v := range ticks {
		if v < x.low || v > x.high {
			continue
		}
		at := x.at(v)
		fmt.Fprintf(&b, `<line class="grid" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/><text class="tick" text-anchor="middle" x="%.1f" y="%d">%s</text>`,
			at, at, marginTop, chartHeight-marginBottom, at, chartHeight-marginBottom+16, template.HTMLEscapeString(c.xText(v)))
	}
	fmt.Fprintf(&b, `<text class="label" text-anchor="middle" x="%d" y="%d">%s</text>`, (marginLeft+chartWidth-marginRight)/2, chartHeight-6, template.HTMLEscapeString(c.x))
	label := c.y
	if c.yLog {
		label += " (log scale)"
	}
	fmt.Fprintf(&b, `<text class="label" text-anchor="middle" transform="translate(12 %d) rotate(-90)">%s</text>`, (marginTop+chartHeight-marginBottom)/2, template.HTMLEscapeString(label))
	for _, s := range c.series {
		var points []string
		for _, p := range s.points {
			points = append(points, fmt.Sprintf("%.1f,%.1f", x.at(p[0]), y.at(p[1])))
		}
		fmt.Fprintf(&b, `<polyline class="s%d" points="%s"/>`, s.class, strings.Join(points, " "))
		for i, p := range s.points {
			fmt.Fprintf(&b, `<circle class="s%d" r="3" cx="%.1f" cy="%.1f"><title>%s: %s, %s</title></circle>`, s.class, x.at(s.points[i][0]), y.at(s.points[i][1]),
				template.HTMLEscapeString(s.name), template.HTMLEscapeString(c.xText(p[0])), template.HTMLEscapeString(c.yText(p[1])))
		}
	}
	b.WriteString("</svg>")
	return template.HTML(b.String()) // all text in it was escaped above
}

// tells says that there are lines to draw, and not only dots above one another, or nothing.
func (c *chart) tells() bool {
	for _, s := range c.series {
		if len(s.points) > 1 {
			return true
		}
	}
	return false
}
