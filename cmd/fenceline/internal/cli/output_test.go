package cli

import (
	"bytes"
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
