package report

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/fenceline/fenceline/bench"
)

const eraseLine = "\r\x1b[K"

// Live keeps one line on a terminal up to date: where the run is, how fast, and for how long still. done takes the line away.
func Live(w io.Writer) (p bench.Progress, done func()) {
	p.Tick = func(t bench.Tick) {
		fmt.Fprintf(w, "%s%v left · %s · %s, round %d: %s %s/s", eraseLine, t.Left.Round(time.Second),
			name(t.Cell), t.Subject, t.Round, rate(t.Rate), many(t.Cell.About().Unit))
	}
	p.Probe = func(s bench.Step) { fmt.Fprintf(w, "%s%v left · %s", eraseLine, s.Left.Round(time.Second), s.Text) }
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
