package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
)

func TestPrintIsATableOrJSON(t *testing.T) {
	people := &app.Table{Header: []string{"NAME", "WAITS"}}
	people.Add("ann", "1s")
	people.Add("bartholomew")
	value := []string{"<ann>"}
	tests := []struct {
		format app.OutputFormat
		want   string
	}{
		{app.OutputTable, "NAME         WAITS\nann          1s\nbartholomew\n"},
		{app.OutputJSON, "[\n  \"<ann>\"\n]\n"},
	}
	for _, test := range tests {
		var out bytes.Buffer
		if err := (&app.Globals{Output: test.format}).Print(&out, value, people); err != nil {
			t.Fatal(err)
		}
		if out.String() != test.want {
			t.Errorf("%s:\n%q, want\n%q", test.format, out.String(), test.want)
		}
	}
}

func TestNoColourButOnATerminal(t *testing.T) {
	if text := app.Bold(&bytes.Buffer{}, "NAME"); text != "NAME" {
		t.Errorf("%q", text)
	}
}

func TestTableFitsANarrowTerminalAndCountsWideCharacters(t *testing.T) {
	lines := &app.Table{Header: []string{"KIND", "NAME", "STATE", "WHO", "VALUE"}}
	lines.Add("lock", "日本", "holds", "backup@db1 pid 7", "-")
	lines.Add("lock", "ab", "waits", "web@db2 pid 8", "http://10.0.0.1:80")
	want := "KIND  NAME  STATE  WHO               VALUE\n" +
		"lock  日本  holds  backup@db1 pid 7  -\n" +
		"lock  ab    waits  web@db2 pid 8     http://10.0.0.1:80"
	if got := strings.Join(lines.Lines(0), "\n"); got != want {
		t.Errorf("\n%s", got)
	}
	want = "KIND  NAME  STATE\n" +
		"lock  日本  holds\n" +
		"    WHO backup@db1 pid 7\n" +
		"lock  ab    waits\n" +
		"    WHO web@db2 pid 8 VALUE\n" +
		"      http://10.0.0.1:80"
	if got := strings.Join(lines.Lines(30), "\n"); got != want {
		t.Errorf("\n%s", got)
	}
}
