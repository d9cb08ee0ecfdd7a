package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/mattn/go-runewidth"
	"golang.org/x/term"
)

// outputFormat is the value of -o.
type outputFormat string

const (
	outputTable outputFormat = "table"
	outputJSON  outputFormat = "json"
)

func (f *outputFormat) String() string { return string(*f) }
func (f *outputFormat) Type() string   { return "format" }

func (f *outputFormat) Set(text string) error {
	switch v := outputFormat(text); v {
	case outputTable, outputJSON:
		*f = v
		return nil
	}
	return fmt.Errorf("%q is neither table nor json", text)
}

// table is rows of cells under a header, aligned by columns. A row may be shorter than the header.
type table struct {
	header []string
	rows   [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// addColumn adds a column, with a cell for every row that there is to be.
func (t *table) addColumn(name string, cells []string) {
	t.header = append(t.header, name)
	if t.rows == nil {
		t.rows = make([][]string, len(cells))
	}
	for i, cell := range cells {
		t.rows[i] = append(t.rows[i], cell)
	}
}

// write draws the table, its header in bold where that can be seen. On a terminal that is too narrow the last columns stand below each row.
func (t *table) write(w io.Writer) error {
	width := 0
	switch w := w.(type) {
	case *os.File:
		width = widthOf(w)
	case *canvas:
		width = w.width
	}
	for i, line := range t.lines(width) {
		if i == 0 {
			line = bold(w, line)
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// lines are those of the table, no wider than width as far as that can be; zero: however wide.
func (t *table) lines(width int) (out []string) {
	rows := append([][]string{t.header}, t.rows...)
	widths := make([]int, len(t.header))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], runewidth.StringWidth(cell))
		}
	}
	beside, sum := 0, 0
	for beside < len(widths) && (width == 0 || beside < 2 || sum+widths[beside] <= width) {
		sum += widths[beside] + 2
		beside++
	}
	for i, row := range rows {
		line, below := "", "   "
		for j, cell := range row {
			switch {
			case j < beside:
				line += cell + strings.Repeat(" ", widths[j]-runewidth.StringWidth(cell)+2)
			case i > 0 && cell != "-" && cell != "":
				below += " " + t.header[j] + " " + cell
			}
		}
		out = append(out, strings.TrimRight(line, " "))
		if strings.TrimSpace(below) != "" {
			out = append(out, hung(below, width, 6)...)
		}
	}
	return out
}

// print writes to w what -o asks for: v as one JSON document, or the table.
func (g *globals) print(w io.Writer, v any, t *table) error {
	if g.output == outputJSON {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	}
	return t.write(w)
}

// bold marks text where w is a terminal that shows it and its user has not declined colour.
func bold(w io.Writer, text string) string {
	if !colourful(w) {
		return text
	}
	return "\x1b[1m" + text + "\x1b[0m"
}

// colourful follows no-color.org: NO_COLOR counts when it is set to anything but the empty string.
func colourful(w io.Writer) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(w)
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// printEscaped is print with everything escaped in JSON that a terminal could take for a command, as it is in cells.
func (g *globals) printEscaped(w io.Writer, v any, t *table) error {
	if g.output != outputJSON {
		return t.write(w)
	}
	var text bytes.Buffer
	if err := g.print(&text, v, nil); err != nil {
		return err
	}
	_, err := io.WriteString(w, printableJSON(text.String()))
	return err
}
