package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/fenceline/fenceline/bench"
)

// CSV writes a row for each cell, subject and round, and one for all rounds together, whose round is 0. Times are in
// nanoseconds. What did not happen is empty. Rows of what was measured besides turns have a measure, and their times under
// acquire; a value has its unit.
func CSV(w io.Writer, r *bench.Result) error {
	c := csv.NewWriter(w)
	rows := [][]string{{"workload", "setting", "contenders", "goroutines", "hold_ns", "rate", "fenced", "subject", "round", "acquisitions", "elapsed_ns",
		"acquisitions_per_second", "acquire_p50_ns", "acquire_p90_ns", "acquire_p99_ns", "acquire_max_ns", "hand_over_p50_ns", "hand_over_p90_ns",
		"hand_over_p99_ns", "hand_over_max_ns", "jain", "distinct_share", "longest_wait_ns", "starved", "proposals", "reads", "watch_events", "bytes", "client_cpu_ns",
		"client_allocated_bytes", "server_cpu_ns", "fsyncs", "fsync_mean_ns", "errors", "measure", "value", "unit", "remark"}}
	for _, cell := range r.Cells {
		about := cell.About()
		for _, s := range cell.Subjects {
			for round, m := range append([]bench.Measures{s.Measures}, s.Rounds...) {
				row := []string{about.Workload, about.Setting, strconv.Itoa(cell.Contenders), strconv.Itoa(cell.Goroutines), number(int64(cell.Hold)), float(cell.Rate),
					strconv.FormatBool(cell.Fenced), s.Subject, strconv.Itoa(round), number(m.Acquisitions), number(int64(m.Elapsed)), float(m.Rate)}
				row = append(append(row, times(m.Acquire)...), times(m.HandOver)...)
				distinct := ""
				if m.Succession != nil {
					distinct = float(m.Succession.Share())
				}
				per := m.PerAcquisition
				row = append(row, float(m.Jain), distinct, number(int64(m.LongestWait)), number(int64(m.Starved)), float(per.Proposals),
					float(per.Linearizable+per.Serializable), float(per.Events), float(per.Bytes), float(per.CPU), float(per.Allocated))
				if v := m.Server; v != nil && m.Acquisitions > 0 {
					row = append(row, float(float64(v.CPU)/float64(m.Acquisitions)), float(float64(v.Fsyncs)/float64(m.Acquisitions)), number(int64(v.FsyncMean)))
				} else {
					row = append(row, "", "", "")
				}
				rows = append(rows, append(row, number(m.Errors), "turns", "", "", ""))
			}
		}
	}
	for _, p := range r.Probes {
		row := make([]string, len(rows[0]))
		set := func(name, value string) { row[slices.Index(rows[0], name)] = value }
		set("measure", p.Measure)
		set("setting", p.Setting)
		set("subject", p.Subject)
		set("round", "0")
		set("acquisitions", strconv.Itoa(p.Count))
		set("remark", p.Remark)
		if p.IsTime() {
			set("acquire_p50_ns", number(int64(p.Median)))
			set("acquire_p99_ns", number(int64(p.P99)))
			set("acquire_max_ns", number(int64(p.Max)))
		} else {
			set("value", float(p.Value))
			set("unit", p.Unit)
		}
		rows = append(rows, row)
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
