package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

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

// write draws the table, its header in bold where that can be seen.
func (t *table) write(w io.Writer) error {
	var drawn bytes.Buffer
	tw := tabwriter.NewWriter(&drawn, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{t.header}, t.rows...) {
		missing := max(len(t.header)-len(row), 0)
		fmt.Fprintln(tw, strings.Join(row, "\t")+strings.Repeat("\t", missing))
	}
	tw.Flush()
	for i, line := range strings.Split(strings.TrimSuffix(drawn.String(), "\n"), "\n") {
		line = strings.TrimRight(line, " ")
		if i == 0 {
			line = bold(w, line)
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
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
