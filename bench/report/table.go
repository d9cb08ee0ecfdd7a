package report

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/fenceline/fenceline/bench"
)

// Table writes one row for each cell and subject, about 130 columns wide, under a line that says where and how.
func Table(w io.Writer, r *bench.Result) error {
	unit, perSecond := unit(r), "acq/s"
	if unit != "acquisition" {
		perSecond = unit + "s/s"
	}
	rows := [][]string{
		{"", "", "", "acquire", "", "", "", "hand-over", "", "", "", "", "longest", "per " + unit, "", "", ""},
		{"contenders", "subject", perSecond, "p50", "p90", "p99", "max", "p50", "p90", "p99", "max", "Jain", "wait", "prop", "reads", "events", "ratio"},
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
	var b strings.Builder
	b.WriteString(headline(r))
	align(&b, rows)
	b.WriteString(footnotes(r))
	_, err := io.WriteString(w, b.String())
	return err
}

func row(cell string, s bench.SubjectResult) []string {
	cost := s.PerAcquisition
	row := []string{cell, s.Subject, rate(s.Rate)}
	row = append(row, latency(s.Acquire)...)
	row = append(row, latency(s.HandOver)...)
	row = append(row, fmt.Sprintf("%.3f", s.Jain), duration(s.LongestWait))
	if s.Cost.Requests() == 0 { // it is not on etcd
		return append(row, "–", "–", "–", ratio(s.Ratio))
	}
	return append(row, share(cost.Proposals), share(cost.Linearizable+cost.Serializable), share(cost.Events), ratio(s.Ratio))
}

// modeRow stands below the row of its subject and has what can be told apart: the cost cannot.
func modeRow(m bench.ModeMeasures) []string {
	row := append([]string{"", "  " + m.Mode, rate(m.Rate)}, latency(m.Acquire)...)
	longest := "–"
	if m.LongestWait > 0 {
		longest = duration(m.LongestWait)
	}
	return append(row, "", "", "", "", "", longest, "", "", "", "")
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
		return []string{"–", "–", "–", "–"}
	}
	return []string{duration(l.P50), duration(l.P90), duration(l.P99), duration(l.Max)}
}

// align pads each column to its widest text: the first two to the right, numbers to the left. A wider gap sets the
// groups apart. Texts of the row of groups start where their column does and do not widen it.
func align(b *strings.Builder, rows [][]string) {
	width := make([]int, len(rows[0]))
	for _, row := range rows[1:] {
		for i, text := range row {
			width[i] = max(width[i], utf8.RuneCountInString(text))
		}
	}
	for r, row := range rows {
		var line strings.Builder
		column := 0 // where the next one starts
		for i, text := range row {
			if i > 0 {
				column += 1 + gap[i]
			}
			pad := max(0, column-utf8.RuneCountInString(line.String()))
			if missing := width[i] - utf8.RuneCountInString(text); r > 0 && i > 1 {
				pad += missing
			}
			if text != "" {
				line.WriteString(strings.Repeat(" ", pad) + text)
			}
			column += width[i]
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}

// gap is the extra space in front of a column.
var gap = map[int]int{1: 1, 2: 1, 3: 2, 7: 2, 11: 2, 13: 2, 16: 1}

func headline(r *bench.Result) string {
	e, s := r.Environment, r.Settings
	where := "etcd at " + strings.Join(e.Endpoints, ", ")
	if e.Etcd != "" {
		where = fmt.Sprintf("etcd %s, %s", e.Etcd, plural(e.Members, "member"))
	}
	text := fmt.Sprintf("%s; %s %s/%s, %s; %s of %v each, TTL %v\n", where, e.Go, e.OS, e.Arch, plural(e.CPUs, "CPU"),
		plural(s.Rounds, "round"), s.Duration, s.TTL)
	if len(s.Conditions) > 0 {
		text += "with " + strings.Join(s.Conditions, ", ") + "\n"
	}
	if n := len(s.Subjects); n > 1 {
		text += fmt.Sprintf("ratio: %ss per second to those of %s\n", unit(r), s.Subjects[n-1])
	}
	return text + "\n"
}

// footnotes tells what makes the numbers above it doubtful.
func footnotes(r *bench.Result) string {
	var b strings.Builder
	for _, cell := range r.Cells {
		for _, s := range cell.Subjects {
			if s.Safety != (bench.Safety{}) {
				fmt.Fprintf(&b, "\n%v", &bench.SafetyError{Subject: s.Subject, Cell: cell.Cell, Safety: s.Safety})
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
