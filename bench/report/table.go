package report

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fenceline/fenceline/bench"
)

// Table writes one row for each cell and subject, about 150 columns wide, under a line that says where and how, and below
// them what was measured besides turns.
func Table(w io.Writer, r *bench.Result) error { return write(w, r, false) }

// NarrowTable is Table with fewer columns, for a terminal of 80.
func NarrowTable(w io.Writer, r *bench.Result) error { return write(w, r, true) }

// WideColumns is how wide a terminal has to be for Table, as a rule.
const WideColumns = 150

func write(w io.Writer, r *bench.Result, narrow bool) error {
	var b strings.Builder
	b.WriteString(headline(r))
	if len(r.Cells) > 0 {
		turns(&b, r, narrow)
	}
	if len(r.Probes) > 0 {
		if len(r.Cells) > 0 {
			b.WriteString("\n")
		}
		align(&b, append([][]string{probeHeader}, probeRows(r)...), probeColumns)
	}
	b.WriteString(footnotes(r))
	_, err := io.WriteString(w, b.String())
	return err
}

func turns(b *strings.Builder, r *bench.Result, narrow bool) {
	unit, perSecond := unit(r), "acq/s"
	if unit != "acquisition" {
		perSecond = many(unit) + "/s"
	}
	rows := [][]string{
		{"", "", "", "", "acquire", "", "", "hand-over", "", "", "", "", "longest", "per " + unit, "", "", "", "", ""},
		{"contenders", "subject", perSecond, "±", "p50", "p99", "max", "p50", "p99", "max", "Jain", "short", "wait", "prop", "reads", "events", "bytes", "cpu", "ratio"},
	}
	for _, cell := range r.Cells {
		rows = append(rows, nil)
		for i, s := range cell.Subjects {
			name := ""
			if i == 0 {
				name = cell.String()
			}
			rows = append(rows, row(name, s))
			for _, m := range s.Modes {
				rows = append(rows, modeRow(m))
			}
		}
	}
	if !narrow {
		align(b, rows, turnColumns)
		return
	}
	rows = rows[1:]
	rows[0][4], rows[0][5], rows[0][7], rows[0][12] = "p50", "p99", "handover", "longest"
	for i, row := range rows {
		rows[i] = fewer(row)
	}
	align(b, rows, narrowColumns)
}

// fewer leaves a row the most telling columns: rate, acquire p50 and p99, hand-over p50, longest wait, proposals, ratio.
func fewer(row []string) (few []string) {
	for _, i := range []int{0, 1, 2, 4, 5, 7, 12, 13, 18} {
		if i < len(row) {
			few = append(few, row[i])
		}
	}
	return few
}

func row(cell string, s bench.SubjectResult) []string {
	row := []string{cell, s.Subject, rate(s.Rate), spread(s)}
	row = append(row, latency(s.Acquire)...)
	row = append(row, latency(s.HandOver)...)
	row = append(row, jain(s.Measures), short(s.Measures), duration(s.LongestWait))
	row = append(row, costs(s.Measures)...)
	return append(row, ratio(s.Ratio))
}

// jain of who got nothing says nothing.
func jain(m bench.Measures) string {
	if m.Acquisitions == 0 {
		return "–"
	}
	return fmt.Sprintf("%.3f", m.Jain)
}

// spread is half of what the slowest and the fastest round differ by.
func spread(s bench.SubjectResult) string {
	if len(s.Rounds) < 2 || s.Rate == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f%%", 50*(s.Fastest-s.Slowest)/s.Rate)
}

// short is short-term fairness.
func short(m bench.Measures) string {
	if m.Succession == nil {
		return "–"
	}
	return fmt.Sprintf("%.2f", m.Succession.Share())
}

// costs are those of one acquisition. What is not on etcd has none there.
func costs(m bench.Measures) []string {
	c := m.PerAcquisition
	cpu := "–"
	if c.CPU > 0 {
		cpu = duration(time.Duration(c.CPU))
	}
	if m.Cost.Requests() == 0 || m.Acquisitions == 0 {
		return []string{"–", "–", "–", "–", cpu}
	}
	return []string{share(c.Proposals), share(c.Linearizable + c.Serializable), share(c.Events), value(math.Round(c.Bytes)), cpu}
}

// modeRow stands below the row of its subject and has what can be told apart: the cost cannot.
func modeRow(m bench.ModeMeasures) []string {
	row := append([]string{"", "  " + m.Mode, rate(m.Rate), ""}, latency(m.Acquire)...)
	longest := "–"
	if m.LongestWait > 0 {
		longest = duration(m.LongestWait)
	}
	return append(row, "", "", "", "", "", longest, "", "", "", "", "", "")
}

var probeHeader = []string{"measured", "setting", "subject", "times", "median", "p99", "max", ""}

// probeRows are of what was measured besides turns. A measure is named once.
func probeRows(r *bench.Result) [][]string {
	var rows [][]string
	last := [2]string{}
	for _, p := range r.Probes {
		what := [2]string{p.Measure, p.Setting}
		row := []string{p.Measure, p.Setting, p.Subject, fmt.Sprint(p.Count)}
		if what == last {
			row[0], row[1] = "", ""
		}
		last = what
		switch {
		case p.Count == 1 && p.IsTime():
			row = append(row, duration(p.Median), "", "")
		case p.P99 == 0 && p.IsTime(): // one figure of many
			row = append(row, duration(p.Median), "", "")
		case p.IsTime() && p.Count < 100: // of so few it would be the largest
			row = append(row, duration(p.Median), "", duration(p.Max))
		case p.IsTime():
			row = append(row, duration(p.Median), duration(p.P99), duration(p.Max))
		default:
			row = append(row, strings.TrimSpace(value(p.Value)+" "+p.Unit), "", "")
		}
		rows = append(rows, append(row, p.Remark))
	}
	return rows
}

// unit is what r counts; the cells of a run are of one workload.
func unit(r *bench.Result) string {
	if len(r.Cells) == 0 {
		return "acquisition"
	}
	return r.Cells[0].About().Unit
}

func latency(l bench.Latency) []string {
	if l.Count == 0 {
		return []string{"–", "–", "–"}
	}
	return []string{duration(l.P50), duration(l.P99), duration(l.Max)}
}

// columns is how a table is laid out.
type columns struct {
	left   int         // so many are texts, and padded to the right
	groups bool        // the first row is names of groups, which start where their column does and do not widen it
	last   bool        // the last one is text, too
	gap    map[int]int // extra space in front of a column
}

var (
	turnColumns   = columns{left: 2, groups: true, gap: map[int]int{1: 1, 2: 1, 4: 2, 7: 2, 10: 2, 13: 2, 18: 1}}
	narrowColumns = columns{left: 2, gap: map[int]int{1: 1}}
	probeColumns  = columns{left: 3, last: true, gap: map[int]int{1: 1, 2: 1, 3: 1, 4: 1, 7: 1}}
)

// align pads each column to its widest text.
func align(b *strings.Builder, rows [][]string, c columns) {
	width := make([]int, len(rows[0]))
	for r, row := range rows {
		for i, text := range row {
			if r > 0 || !c.groups {
				width[i] = max(width[i], utf8.RuneCountInString(text))
			}
		}
	}
	for r, row := range rows {
		var line strings.Builder
		column := 0 // where the next one starts
		for i, text := range row {
			if i > 0 {
				column += 1 + c.gap[i]
			}
			pad := max(0, column-utf8.RuneCountInString(line.String()))
			if number := i >= c.left && !(c.last && i == len(row)-1); number && !(c.groups && r == 0) {
				pad += width[i] - utf8.RuneCountInString(text)
			}
			if text != "" {
				line.WriteString(strings.Repeat(" ", pad) + text)
			}
			column += width[i]
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}

func headline(r *bench.Result) string {
	e, s := r.Environment, r.Settings
	where := "etcd at " + strings.Join(e.Endpoints, ", ")
	if e.Etcd != "" {
		where = fmt.Sprintf("etcd %s at %s, %s", e.Etcd, strings.Join(e.Endpoints, ", "), plural(e.Members, "member"))
	}
	text := fmt.Sprintf("%s; %s %s/%s, %s; %s of %v each, TTL %v\n", where, e.Go, e.OS, e.Arch, plural(e.CPUs, "CPU"),
		plural(s.Rounds, "round"), s.Duration, s.TTL)
	if len(s.Conditions) > 0 {
		text += "with " + strings.Join(s.Conditions, ", ") + "\n"
	}
	if e.Put != nil {
		text += fmt.Sprintf("a put, one after the other: %s at the median, %s at p99\n", duration(e.Put.P50), duration(e.Put.P99))
	}
	if n := len(s.Subjects); n > 1 && len(r.Cells) > 0 {
		text += fmt.Sprintf("ratio: %s per second to those of %s\n", many(unit(r)), s.Subjects[n-1])
	}
	return text + "\n"
}

// footnotes is what stands below the table.
func footnotes(r *bench.Result) string {
	text := itself(r)
	if text != "" {
		text = "\n" + text + "\n"
	}
	return doubts(r) + text
}

// doubts tells what makes the numbers above it doubtful.
func doubts(r *bench.Result) string {
	var b strings.Builder
	for _, cell := range r.Cells {
		for _, s := range cell.Subjects {
			if s.Safety != (bench.Safety{}) {
				fmt.Fprintf(&b, "\n%v", &bench.SafetyError{Subject: s.Subject, Cell: cell.Cell, Safety: s.Safety})
			}
			if s.Starved > 0 {
				fmt.Fprintf(&b, "\n%s in cell %v: %d of %s got nothing", s.Subject, cell.Cell, s.Starved, plural(cell.Contenders, "contender"))
			}
			if s.Lag != nil {
				fmt.Fprintf(&b, "\n%s in cell %v: turns began %s late at the median, %s at p99, %s at most; acquire includes that", s.Subject, cell.Cell,
					duration(s.Lag.P50), duration(s.Lag.P99), duration(s.Lag.Max))
			}
			if s.Errors > 0 {
				fmt.Fprintf(&b, "\n%s in cell %v: %s, first: %s", s.Subject, cell.Cell, plural(int(s.Errors), "error"), s.FirstError)
			}
		}
	}
	if r.Interrupted {
		b.WriteString("\ninterrupted: this is what was measured until then")
	}
	if b.Len() > 0 {
		b.WriteString("\n")
	}
	return b.String()
}

// itself is what etcd says of itself, over all cells and subjects.
func itself(r *bench.Result) string {
	var fsyncs, acquisitions int64
	var all, p99, cpu time.Duration
	var memory int64
	for _, cell := range r.Cells {
		for _, s := range cell.Subjects {
			if v := s.Server; v != nil {
				fsyncs, all, p99, cpu = fsyncs+v.Fsyncs, all+time.Duration(v.Fsyncs)*v.FsyncMean, max(p99, v.FsyncP99), cpu+v.CPU
				memory, acquisitions = max(memory, v.Memory), acquisitions+s.Acquisitions
			}
		}
	}
	if acquisitions == 0 {
		return ""
	}
	text := fmt.Sprintf("etcd of itself, over all cells: %s of CPU, %.0f MiB", duration(cpu), float64(memory)/(1<<20))
	if fsyncs > 0 {
		text += fmt.Sprintf("; %s of its log, %s at the mean, at worst %s at p99 of a round", plural(int(fsyncs), "fsync"), duration(all/time.Duration(fsyncs)), duration(p99))
	}
	return text
}
