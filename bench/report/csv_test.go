package report

import (
	"bytes"
	"encoding/csv"
	"testing"
)

func TestCSVHasARowForEachRoundAndOneForAll(t *testing.T) {
	var b bytes.Buffer
	if err := CSV(&b, result()); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&b).ReadAll() // it checks that all rows are of one length
	if err != nil || len(rows) != 1+3*2 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	for name, want := range map[string]string{"workload": "mutex", "contenders": "2", "subject": "fenceline", "round": "0", "acquisitions": "3600",
		"acquisitions_per_second": "1800", "acquire_p99_ns": "1200000", "hand_over_p50_ns": "430000", "jain": "1", "proposals": "2", "reads": "0.01", "errors": "0"} {
		if got := rows[1][column[name]]; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got := rows[6][column["hand_over_p50_ns"]]; got != "" {
		t.Errorf("a hand-over that never was: %q", got)
	}
}
