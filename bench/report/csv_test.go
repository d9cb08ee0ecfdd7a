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
	if err != nil || len(rows) != 1+7+4 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	for name, want := range map[string]string{"workload": "mutex", "contenders": "2", "subject": "fenceline", "round": "0", "acquisitions": "3600",
		"acquisitions_per_second": "1800", "acquire_p99_ns": "1200000", "hand_over_p50_ns": "430000", "jain": "1", "proposals": "2", "reads": "0.01", "errors": "0",
		"distinct_share": "0.95", "starved": "0", "bytes": "425", "client_cpu_ns": "210000", "server_cpu_ns": "277778", "fsyncs": "1.66667", "fsync_mean_ns": "250000",
		"measure": "turns"} {
		if got := rows[1][column[name]]; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got := rows[7][column["hand_over_p50_ns"]]; got != "" {
		t.Errorf("a hand-over that never was: %q", got)
	}
	for name, want := range map[string]string{"measure": "kill -9 to next holder", "setting": "TTL 5s", "subject": "etcd", "acquisitions": "3",
		"acquire_p50_ns": "4300000000", "acquire_max_ns": "6100000000", "value": "", "remark": "1 later than TTL + 1s"} {
		if got := rows[9][column[name]]; got != want {
			t.Errorf("of a probe, %s is %q, want %q", name, got, want)
		}
	}
	if row := rows[10]; row[column["value"]] != "6.7" || row[column["unit"]] != "MiB" || row[column["acquire_p50_ns"]] != "" {
		t.Errorf("a value: %q", row)
	}
}
