package cli

import (
	"bytes"
	"strings"
	"testing"
)

func TestPrintIsATableOrJSON(t *testing.T) {
	people := &table{header: []string{"NAME", "WAITS"}}
	people.add("ann", "1s")
	people.add("bartholomew")
	value := []string{"<ann>"}
	tests := []struct {
		format outputFormat
		want   string
	}{
		{outputTable, "NAME         WAITS\nann          1s\nbartholomew\n"},
		{outputJSON, "[\n  \"<ann>\"\n]\n"},
	}
	for _, test := range tests {
		var out bytes.Buffer
		if err := (&globals{output: test.format}).print(&out, value, people); err != nil {
			t.Fatal(err)
		}
		if out.String() != test.want {
			t.Errorf("%s:\n%q, want\n%q", test.format, out.String(), test.want)
		}
	}
}

func TestNoColourButOnATerminal(t *testing.T) {
	if text := bold(&bytes.Buffer{}, "NAME"); text != "NAME" {
		t.Errorf("%q", text)
	}
}

func TestTableFitsANarrowTerminalAndCountsWideCharacters(t *testing.T) {
	lines := &table{header: []string{"KIND", "NAME", "STATE", "WHO", "VALUE"}}
	lines.add("lock", "日本", "holds", "backup@db1 pid 7", "-")
	lines.add("lock", "ab", "waits", "web@db2 pid 8", "http://10.0.0.1:80")
	want := "KIND  NAME  STATE  WHO               VALUE\n" +
		"lock  日本  holds  backup@db1 pid 7  -\n" +
		"lock  ab    waits  web@db2 pid 8     http://10.0.0.1:80"
	if got := strings.Join(lines.lines(0), "\n"); got != want {
		t.Errorf("\n%s", got)
	}
	want = "KIND  NAME  STATE\n" +
		"lock  日本  holds\n" +
		"    WHO backup@db1 pid 7\n" +
		"lock  ab    waits\n" +
		"    WHO web@db2 pid 8 VALUE\n" +
		"      http://10.0.0.1:80"
	if got := strings.Join(lines.lines(30), "\n"); got != want {
		t.Errorf("\n%s", got)
	}
}
