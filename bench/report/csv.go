package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"

	"github.com/fenceline/fenceline/bench"
)

// CSV writes a row for each cell, subject and round, and one for all rounds together, whose round is 0. Times are in
// nanoseconds. What did not happen is empty.
func CSV(w io.Writer, r *bench.Result) error {
	c := csv.NewWriter(w)
	rows := [][]string{{"workload", "setting", "contenders", "goroutines", "hold_ns", "rate", "fenced", "subject", "round", "acquisitions", "elapsed_ns",
		"acquisitions_per_second", "acquire_p50_ns", "acquire_p90_ns", "acquire_p99_ns", "acquire_max_ns", "hand_over_p50_ns", "hand_over_p90_ns",
		"hand_over_p99_ns", "hand_over_max_ns", "jain", "longest_wait_ns", "proposals", "reads", "watch_events", "errors"}}
	for _, cell := range r.Cells {
		about := cell.About()
		for _, s := range cell.Subjects {
			for round, m := range append([]bench.Measures{s.Measures}, s.Rounds...) {
				row := []string{about.Workload, about.Setting, strconv.Itoa(cell.Contenders), strconv.Itoa(cell.Goroutines), number(int64(cell.Hold)), float(cell.Rate),
					strconv.FormatBool(cell.Fenced), s.Subject, strconv.Itoa(round), number(m.Acquisitions), number(int64(m.Elapsed)), float(m.Rate)}
				row = append(append(row, times(m.Acquire)...), times(m.HandOver)...)
				rows = append(rows, append(row, float(m.Jain), number(int64(m.LongestWait)), float(m.PerAcquisition.Proposals),
					float(m.PerAcquisition.Linearizable+m.PerAcquisition.Serializable), float(m.PerAcquisition.Events), number(m.Errors)))
			}
		}
	}
	return c.WriteAll(rows)
}

func times(l bench.Latency) []string {
	if l.Count == 0 {
		return []string{"", "", "", ""}
	}
	return []string{number(int64(l.P50)), number(int64(l.P90)), number(int64(l.P99)), number(int64(l.Max))}
}

func number(n int64) string  { return strconv.FormatInt(n, 10) }
func float(f float64) string { return fmt.Sprintf("%.6g", f) }
