package report

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/fenceline/fenceline/bench"
)

const eraseLine = "\r\x1b[K"

// Live keeps one line on a terminal up to date: where the run is, how fast, and for how long still. done takes the line away. width is
// asked each time; what is longer is cut off, for a line that wraps cannot be taken away. Zero: it is not known.
func Live(w io.Writer, width func() int) (p bench.Progress, done func()) {
	say := func(format string, args ...any) {
		line := []rune(fmt.Sprintf(format, args...))
		if most := width() - 1; most > 0 && len(line) > most {
			line = append(line[:most-1], '…')
		}
		fmt.Fprint(w, eraseLine+string(line))
	}
	p.Tick = func(t bench.Tick) {
		say("%v left · %s %s/s · %s, round %d · %s", t.Left.Round(time.Second), rate(t.Rate), many(t.Cell.About().Unit), t.Subject, t.Round, name(t.Cell))
	}
	p.Probe = func(s bench.Step) { say("%v left · %s", s.Left.Round(time.Second), s.Text) }
	return p, func() { io.WriteString(w, eraseLine) }
}

// Lines writes one line for each cell when it is complete, for logs.
func Lines(w io.Writer) bench.Progress {
	return bench.Progress{Probe: func(s bench.Step) { fmt.Fprintln(w, s.Text) }, Cell: func(c bench.CellResult) {
		var rates []string
		for _, s := range c.Subjects {
			rates = append(rates, fmt.Sprintf("%s %s/s", s.Subject, rate(s.Rate)))
		}
		fmt.Fprintf(w, "%s: %s\n", name(c.Cell), strings.Join(rates, ", "))
	}}
}

// name spells a cell out: 1 contender × 64 goroutines, fenced.
func name(c bench.Cell) string {
	text := plural(c.Contenders, "contender")
	if c.Goroutines > 1 {
		text += " × " + plural(c.Goroutines, "goroutine")
	}
	if c.Hold > 0 {
		text += fmt.Sprintf(", hold %v", c.Hold)
	}
	if c.Fenced {
		text += ", fenced"
	}
	if setting := c.About().Setting; setting != "" {
		text += ", " + setting
	}
	return text
}
