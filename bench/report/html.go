package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fenceline/fenceline/bench"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

// HTML writes r as one page that needs nothing else: no script, no network. Its pictures are SVG, and readable in light,
// in dark, on paper and on a phone.
func HTML(w io.Writer, r *bench.Result) error {
	p := &pageOf{Result: r, Headline: strings.TrimSpace(headline(r)), Footnotes: strings.TrimSpace(doubts(r)), Itself: itself(r), Unit: unit(r), Title: titleOf(r), classes: map[string]int{}}
	for i, name := range r.Settings.Subjects {
		p.classes[name] = i % colours
		p.Legend = append(p.Legend, legend{name, i % colours})
	}
	for _, g := range groups(r.Cells) {
		p.Scaling = append(p.Scaling, p.scaling(g)...)
	}
	for i := range r.Cells {
		p.Cells = append(p.Cells, p.cell(&r.Cells[i]))
	}
	if len(r.Probes) > 0 {
		p.Besides = grid{probeHeader, probeRows(r)}
	}
	return page.Execute(w, p)
}

// titleOf says what was measured.
func titleOf(r *bench.Result) string {
	if len(r.Cells) == 0 {
		return "What it costs to take turns"
	}
	return "What it costs to take turns: " + r.Cells[0].About().Workload
}

// colours is how many the style sheet has.
const colours = 6

type legend struct {
	Name  string
	Class int
}

type figure struct {
	Title string
	SVG   template.HTML
}

// pageOf is what the template shows.
type pageOf struct {
	*bench.Result
	Headline, Footnotes, Unit string
	Itself                    string
	Legend                    []legend
	Scaling                   []figure
	Title                     string
	Besides                   grid // what was measured besides turns
	Cells                     []cellOf
	classes                   map[string]int
}

// cellOf is one cell on the page.
type cellOf struct {
	Name         string
	Contenders   int
	Turns, Costs grid
	Sharing      grid
	Figures      []figure
}

// grid is a table.
type grid struct {
	Header []string
	Rows   [][]string
}

// group is cells that differ in one number only: that of contenders, or the one in the setting of their workload.
type group struct {
	name  string // what they have in common
	label string // of what differs
	cells []*bench.CellResult
	at    []float64 // the number of each
	few   bool      // they are on a linear scale
}

func groups(cells []bench.CellResult) []*group {
	var all []*group
	add := func(name, label string, few bool, cell *bench.CellResult, at float64) {
		j := slices.IndexFunc(all, func(g *group) bool { return g.name == name && g.label == label })
		if j < 0 {
			j = len(all)
			all = append(all, &group{name: name, label: label, few: few})
		}
		all[j].cells, all[j].at = append(all[j].cells, cell), append(all[j].at, at)
	}
	for i := range cells {
		c := cells[i].Cell
		name := c.String()
		c.Contenders = 1
		add(strings.TrimPrefix(strings.TrimPrefix(c.String(), "1"), " "), "contenders", false, &cells[i], float64(cells[i].Contenders))
		if label, at, ok := numberIn(c.About().Setting); ok {
			add(strings.TrimSuffix(name, ", "+c.About().Setting)+" contenders", label, true, &cells[i], at)
		}
	}
	return slices.DeleteFunc(all, func(g *group) bool { return len(g.cells) < 2 })
}

var numbers = regexp.MustCompile(`[0-9]+(\.[0-9]+)?`)

// numberIn is the only number of a setting, and the words around it: "90% reads" is 90 of "% reads".
func numberIn(setting string) (label string, n float64, ok bool) {
	found := numbers.FindAllStringIndex(setting, -1)
	if len(found) != 1 {
		return "", 0, false
	}
	from, to := found[0][0], found[0][1]
	n, err := strconv.ParseFloat(setting[from:to], 64)
	return strings.TrimSpace(setting[:from] + setting[to:]), n, err == nil
}

// scaling is what more of something does: contenders, reads, units.
func (p *pageOf) scaling(g *group) []figure {
	draw := func(title, y string, value func(*bench.SubjectResult) float64, text func(float64) string) figure {
		c := &chart{title: title, x: g.label, y: y, xLog: !g.few, yLog: true, xText: count, yText: text}
		for _, subject := range p.Settings.Subjects {
			s := series{name: subject, class: p.classes[subject]}
			for j, cell := range g.cells {
				for i := range cell.Subjects {
					if v := value(&cell.Subjects[i]); cell.Subjects[i].Subject == subject && v > 0 {
						s.points = append(s.points, [2]float64{g.at[j], v})
					}
				}
			}
			slices.SortFunc(s.points, func(a, b [2]float64) int { return int(a[0] - b[0]) })
			c.series = append(c.series, s)
		}
		c.xTicks = g.at
		if g.name != "" {
			title += ", " + strings.TrimPrefix(g.name, ", ")
		}
		if !c.tells() {
			return figure{}
		}
		return figure{title, c.svg()}
	}
	all := []figure{
		draw("Throughput", many(p.Unit)+" per second", func(s *bench.SubjectResult) float64 { return s.Rate }, rate),
		draw("Hand-over, median", "time", func(s *bench.SubjectResult) float64 { return float64(s.HandOver.P50) }, nanoseconds),
	}
	return slices.DeleteFunc(all, func(f figure) bool { return f.SVG == "" })
}

func count(v float64) string       { return fmt.Sprint(int(math.Round(v))) }
func nanoseconds(v float64) string { return duration(time.Duration(v)) }

func (p *pageOf) cell(c *bench.CellResult) cellOf {
	out := cellOf{Name: "contenders: " + c.Cell.String(), Contenders: c.Contenders,
		Turns:   grid{Header: []string{"subject", many(p.Unit) + "/s", "±", "acquire p50", "p90", "p99", "max", "hand-over p50", "p90", "p99", "max", "longest wait", "ratio"}},
		Sharing: grid{Header: []string{"how it is shared", "Jain", "short", "until again, p50", "p99", "max", "starved"}},
		Costs:   grid{Header: []string{"what it costs", "proposals", "reads", "events", "bytes", "client CPU", "allocated", "heap", "etcd's CPU", "fsyncs", "an fsync", "p99", "etcd's memory"}}}
	curves := &chart{title: "How long an acquire takes", x: "percentile", y: "time", xLog: true, yLog: true, yText: nanoseconds,
		xText: func(v float64) string { return percent(100 - 100/v) }, xTicks: []float64{1, 2, 10, 100, 1000, 10000}}
	longest := 1.0
	for _, s := range c.Subjects {
		out.Turns.Rows = append(out.Turns.Rows, turnsOf(s))
		for _, m := range s.Modes {
			row := append([]string{s.Subject + ", " + m.Mode, rate(m.Rate), ""}, quarters(m.Acquire)...)
			out.Turns.Rows = append(out.Turns.Rows, append(row, "", "", "", "", duration(m.LongestWait), ""))
		}
		out.Sharing.Rows = append(out.Sharing.Rows, sharing(s))
		out.Costs.Rows = append(out.Costs.Rows, costsOf(s))
		line := series{name: s.Subject, class: p.classes[s.Subject]}
		for _, q := range s.Curve {
			if q.Percent < 100 {
				x := 100 / (100 - q.Percent)
				line.points, longest = append(line.points, [2]float64{x, float64(q.Time)}), max(longest, x)
			}
		}
		curves.series = append(curves.series, line)
	}
	curves.xTicks = slices.DeleteFunc(curves.xTicks, func(v float64) bool { return v > longest })
	if longest > 1 {
		out.Figures = append(out.Figures, figure{curves.title, curves.svg()})
	}
	if c.Contenders > 1 {
		var end time.Duration // the same for all: else a second looks like a tenth of one
		for _, s := range c.Subjects {
			for _, h := range s.Timeline {
				end = max(end, h.Until)
			}
		}
		for _, s := range c.Subjects {
			out.Figures = append(out.Figures, figure{"Who was inside when: " + s.Subject, p.timeline(c, s, end)})
		}
		out.Figures = append(out.Figures, figure{"What each contender got", p.shares(c)})
	}
	return out
}

func percent(v float64) string {
	return strings.TrimSuffix(strings.TrimSuffix(fmt.Sprintf("%.2f", v), "0"), ".0") + " %"
}

// quarters is a latency with all its percentiles.
func quarters(l bench.Latency) []string {
	if l.Count == 0 {
		return []string{"–", "–", "–", "–"}
	}
	return []string{duration(l.P50), duration(l.P90), duration(l.P99), duration(l.Max)}
}

func turnsOf(s bench.SubjectResult) []string {
	row := append([]string{s.Subject, rate(s.Rate), spread(s)}, quarters(s.Acquire)...)
	row = append(row, quarters(s.HandOver)...)
	return append(row, duration(s.LongestWait), ratio(s.Ratio))
}

func sharing(s bench.SubjectResult) []string {
	row := []string{s.Subject, jain(s.Measures), short(s.Measures)}
	if f := s.Succession; f != nil && f.Again.Count > 0 {
		row = append(row, fmt.Sprint(f.Again.P50), fmt.Sprint(f.Again.P99), fmt.Sprint(f.Again.Max))
	} else {
		row = append(row, "–", "–", "–")
	}
	return append(row, fmt.Sprint(s.Starved))
}

// costsOf is what an acquisition takes of the contenders' process, and of etcd's.
func costsOf(s bench.SubjectResult) []string {
	row := append([]string{s.Subject}, costs(s.Measures)...)
	row = append(row, size(s.PerAcquisition.Allocated), size(float64(s.Client.Heap)))
	v := s.Server
	if v == nil || s.Acquisitions == 0 || s.Cost.Requests() == 0 {
		return append(row, "–", "–", "–", "–", "–")
	}
	fsyncs, mean, p99 := "–", "–", "–"
	if v.Fsyncs > 0 {
		fsyncs, mean, p99 = share(float64(v.Fsyncs)/float64(s.Acquisitions)), duration(v.FsyncMean), duration(v.FsyncP99)
	}
	return append(row, duration(v.CPU/time.Duration(s.Acquisitions)), fsyncs, mean, p99, size(float64(v.Memory)))
}

// maxRows is how many contenders a time line and a bar chart show.
const maxRows = 64

// timeline has a row for each contender, and a mark for each time that it was inside.
func (p *pageOf) timeline(c *bench.CellResult, s bench.SubjectResult, end time.Duration) template.HTML {
	rows := min(c.Contenders, maxRows)
	height := max(min(240/rows, 30), 3)
	end = max(end, 1)
	x := axis{low: 0, high: float64(end), from: marginLeft, over: chartWidth - marginLeft - marginRight}
	bottom := marginTop + rows*height
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img" aria-label="time line of %s">`, chartWidth, bottom+36, template.HTMLEscapeString(s.Subject))
	for i := range rows {
		y := marginTop + i*height
		fmt.Fprintf(&b, `<line class="grid" x1="%d" x2="%d" y1="%d" y2="%d"/>`, marginLeft, chartWidth-marginRight, y+height, y+height)
	}
	for _, h := range s.Timeline {
		if h.Contender < rows {
			from := x.at(float64(h.From))
			fmt.Fprintf(&b, `<rect class="s%d" x="%.2f" y="%d" width="%.2f" height="%d"/>`, p.classes[s.Subject], from, marginTop+h.Contender*height, max(x.at(float64(h.Until))-from, 0.8), height)
		}
	}
	for _, v := range x.ticks() {
		fmt.Fprintf(&b, `<text class="tick" text-anchor="middle" x="%.1f" y="%d">%s</text>`, x.at(v), bottom+16, duration(time.Duration(v)))
	}
	fmt.Fprintf(&b, `<text class="label" text-anchor="middle" x="%d" y="%d">since the measurement began</text>`, (marginLeft+chartWidth-marginRight)/2, bottom+32)
	fmt.Fprintf(&b, `<text class="label" text-anchor="middle" transform="translate(12 %d) rotate(-90)">contenders</text></svg>`, (marginTop+bottom)/2)
	return template.HTML(b.String())
}

// shares has a bar for each contender of each subject, of what it got against an even share.
func (p *pageOf) shares(c *bench.CellResult) template.HTML {
	rows := min(c.Contenders, maxRows)
	each := float64(chartWidth-marginLeft-marginRight) / float64(len(c.Subjects))
	most := 2.0 // times an even share
	ratio := func(s bench.SubjectResult, i int) float64 {
		if s.Acquisitions == 0 || i >= len(s.Shares) {
			return 0
		}
		return float64(s.Shares[i]) * float64(len(s.Shares)) / float64(s.Acquisitions)
	}
	for _, s := range c.Subjects {
		for i := range rows {
			most = max(most, ratio(s, i))
		}
	}
	y := axis{low: 0, high: most, from: 200 - 30, over: -(200 - 30 - marginTop)}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d 200" role="img" aria-label="fairness">`, chartWidth)
	for _, v := range []float64{0, 1, most} {
		fmt.Fprintf(&b, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text class="tick" text-anchor="end" x="%d" y="%.1f">%s×</text>`,
			marginLeft, chartWidth-marginRight, y.at(v), y.at(v), marginLeft-6, y.at(v)+4, digits(v))
	}
	for j, s := range c.Subjects {
		left, width := float64(marginLeft)+each*float64(j)+4, (each-8)/float64(rows)
		for i := range rows {
			top := y.at(ratio(s, i))
			fmt.Fprintf(&b, `<rect class="s%d" x="%.2f" y="%.1f" width="%.2f" height="%.1f"/>`, p.classes[s.Subject], left+width*float64(i), top, max(width*0.8, 0.5), y.at(0)-top)
		}
		fmt.Fprintf(&b, `<text class="tick" text-anchor="middle" x="%.1f" y="190">%s</text>`, left+(each-8)/2, template.HTMLEscapeString(s.Subject))
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}
