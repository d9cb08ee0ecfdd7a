package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/fenceline/fenceline/bench"
)

// GoBench writes r in the format of `go test -bench`: one line for each cell, subject and round, for benchstat.
// Compare subjects with `benchstat -col /subject`.
func GoBench(w io.Writer, r *bench.Result) error {
	var b strings.Builder
	e := r.Environment
	fmt.Fprintf(&b, "goos: %s\ngoarch: %s\npkg: github.com/fenceline/fenceline/bench\n", e.OS, e.Arch)
	if e.CPU != "" {
		fmt.Fprintf(&b, "cpu: %s\n", e.CPU)
	}
	if e.Etcd != "" {
		fmt.Fprintf(&b, "etcd: %s\n", e.Etcd)
	}
	for _, cell := range r.Cells {
		for _, s := range cell.Subjects {
			for _, m := range s.Rounds {
				line(&b, e.CPUs, cell.Cell, s.Subject, m)
			}
		}
	}
	for _, p := range r.Probes {
		probe(&b, e.CPUs, p)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// probe is a line for what is a time; a value has no iterations.
func probe(b *strings.Builder, cpus int, p bench.Row) {
	if !p.IsTime() {
		return
	}
	word := func(text string) string {
		return strings.Map(func(r rune) rune {
			if strings.ContainsRune(" /,'", r) {
				return '_'
			}
			return r
		}, text)
	}
	fmt.Fprintf(b, "BenchmarkProbe/measure=%s", word(p.Measure))
	if p.Setting != "" {
		fmt.Fprintf(b, "/setting=%s", word(p.Setting))
	}
	fmt.Fprintf(b, "/subject=%s", p.Subject)
	if cpus > 1 {
		fmt.Fprintf(b, "-%d", cpus)
	}
	fmt.Fprintf(b, "\t%d\t%d ns/op", p.Count, p.Median)
	if p.Max > 0 {
		fmt.Fprintf(b, "\t%d max-ns", p.Max)
	}
	b.WriteString("\n")
}

func line(b *strings.Builder, cpus int, c bench.Cell, subject string, m bench.Measures) {
	if m.Acquisitions == 0 {
		return
	}
	fmt.Fprintf(b, "Benchmark%s/contenders=%d/goroutines=%d/hold=%v/fenced=%v/subject=%s", title(c), c.Contenders, c.Goroutines, c.Hold, c.Fenced, subject)
	if cpus > 1 {
		fmt.Fprintf(b, "-%d", cpus)
	}
	fmt.Fprintf(b, "\t%d\t%.1f ns/op\t%.1f acq/s\t%d p50-acquire-ns\t%d p99-acquire-ns", m.Acquisitions,
		float64(m.Elapsed)/float64(m.Acquisitions), m.Rate, m.Acquire.P50, m.Acquire.P99)
	if m.HandOver.Count > 0 {
		fmt.Fprintf(b, "\t%d p50-handover-ns\t%d p99-handover-ns", m.HandOver.P50, m.HandOver.P99)
	}
	for _, mode := range m.Modes {
		if mode.Acquisitions > 0 {
			fmt.Fprintf(b, "\t%.1f %s/s\t%d p50-%[2]s-ns\t%d p99-%[2]s-ns", mode.Rate, mode.Mode, mode.Acquire.P50, mode.Acquire.P99)
		}
	}
	cost := m.PerAcquisition
	fmt.Fprintf(b, "\t%.4f jain\t%.4f proposals/op\t%.4f reads/op\t%.4f events/op\t%.0f wire-B/op\t%.0f cpu-ns/op\n", m.Jain,
		cost.Proposals, cost.Linearizable+cost.Serializable, cost.Events, cost.Bytes, cost.CPU)
}

// title begins the name of a benchmark: Lock for the mutex, else Rw/setting=90%_reads.
func title(c bench.Cell) string {
	about := c.About()
	if about.Workload == (bench.Mutex{}).About().Workload {
		return "Lock"
	}
	title := strings.ToUpper(about.Workload[:1]) + about.Workload[1:]
	if about.Setting != "" {
		title += "/setting=" + strings.ReplaceAll(about.Setting, " ", "_")
	}
	return title
}
