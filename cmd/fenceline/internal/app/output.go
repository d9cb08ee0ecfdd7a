package app

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

// OutputFormat is the value of -o.
type OutputFormat string

const (
	OutputTable OutputFormat = "table"
	OutputJSON  OutputFormat = "json"
)

func (f *OutputFormat) String() string { return string(*f) }
func (f *OutputFormat) Type() string   { return "format" }

func (f *OutputFormat) Set(text string) error {
	switch v := OutputFormat(text); v {
	case OutputTable, OutputJSON:
		*f = v
		return nil
	}
	return fmt.Errorf("%q is neither table nor json", text)
}

// Table is rows of cells under a header, aligned by columns. A row may be shorter than the header.
type Table struct {
	Header []string
	Rows   [][]string
}

func (t *Table) Add(cells ...string) { t.Rows = append(t.Rows, cells) }

// AddColumn adds a column, with a cell for every row that there is to be.
func (t *Table) AddColumn(name string, cells []string) {
	t.Header = append(t.Header, name)
	if t.Rows == nil {
		t.Rows = make([][]string, len(cells))
	}
	for i, cell := range cells {
		t.Rows[i] = append(t.Rows[i], cell)
	}
}

// Write draws the table, its header in bold where that can be seen. On a terminal that is too narrow the last columns stand below each row.
func (t *Table) Write(w io.Writer) error {
	width := 0
	switch w := w.(type) {
	case *os.File:
		width = WidthOf(w)
	case *Canvas:
		width = w.width
	}
	for i, line := range t.Lines(width) {
		if i == 0 {
			line = Bold(w, line)
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// Lines are those of the table, no wider than width as far as that can be; zero: however wide.
func (t *Table) Lines(width int) (out []string) {
	rows := append([][]string{t.Header}, t.Rows...)
	widths := make([]int, len(t.Header))
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
				below += " " + t.Header[j] + " " + cell
			}
		}
		out = append(out, strings.TrimRight(line, " "))
		if strings.TrimSpace(below) != "" {
			out = append(out, hung(below, width, 6)...)
		}
	}
	return out
}

// Print writes to w what -o asks for: v as one JSON document, or the table.
func (g *Globals) Print(w io.Writer, v any, t *Table) error {
	if g.Output == OutputJSON {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	}
	return t.Write(w)
}

// Bold marks text where w is a terminal that shows it and its user has not declined colour.
func Bold(w io.Writer, text string) string {
	if !colourful(w) {
		return text
	}
	return "\x1b[1m" + text + "\x1b[0m"
}

// colourful follows no-color.org: NO_COLOR counts when it is set to anything but the empty string.
func colourful(w io.Writer) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && IsTerminal(w)
}

func IsTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// PrintEscaped is print with everything escaped in JSON that a terminal could take for a command, as it is in cells.
func (g *Globals) PrintEscaped(w io.Writer, v any, t *Table) error {
	if g.Output != OutputJSON {
		return t.Write(w)
	}
	var text bytes.Buffer
	if err := g.Print(&text, v, nil); err != nil {
		return err
	}
	_, err := io.WriteString(w, PrintableJSON(text.String()))
	return err
}
