package report

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/fenceline/fenceline/bench"
)

func TestNarrowTableFits80Columns(t *testing.T) {
	var b strings.Builder
	if err := NarrowTable(&b, result()); err != nil {
		t.Fatal(err)
	}
	table, _, _ := strings.Cut(b.String(), "measured")
	_, table, _ = strings.Cut(table, "\n\n")
	for line := range strings.Lines(table) {
		if n := utf8.RuneCountInString(strings.TrimSpace(line)); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if !strings.Contains(table, "ratio") || !strings.Contains(table, "80.0×") || strings.Contains(table, "Jain") {
		t.Errorf("%s", table)
	}
}

func TestProgressStaysOnOneLine(t *testing.T) {
	var b strings.Builder
	live, _ := Live(&b, func() int { return 40 })
	live.Tick(bench.Tick{Left: time.Minute, Subject: "fenceline", Round: 1, Rate: 1234})
	live.Probe(bench.Step{Left: time.Minute, Text: strings.Repeat("a long text ", 10)})
	for _, line := range strings.Split(b.String(), eraseLine) {
		if n := utf8.RuneCountInString(line); n > 39 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}
