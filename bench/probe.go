package bench

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Probe measures what is not a turn: how long a lock stays with a process that was killed, what a directory of ten
// thousand instances takes. Probes run after the cells of a run, on the same cluster, and their rows stand in the same
// report.
type Probe interface {
	// Validate says which setting breaks which rule; see Invalid.
	Validate() error
	// Estimate is how long it takes.
	Estimate() time.Duration
	// Run measures each of lab.Subjects. When ctx ends, or something fails, what was added stays in the report.
	Run(ctx context.Context, lab Lab) error
}

// Lab is what a probe works with.
type Lab struct {
	Etcd     clientv3.Config
	Prefix   string                      // all keys go below it; ends with a slash. What stays there is deleted
	Subjects []string                    // names, in the order of the report
	Command  func(role string) *exec.Cmd // see Config
	Say      func(text string)           // what it is doing, for people
	Add      func(Row)
}

// Row is one measure of one subject that is not made of turns: times, or one value.
type Row struct {
	Measure string        `json:"measure"`
	Setting string        `json:"setting,omitempty"`
	Subject string        `json:"subject"`
	Count   int           `json:"count"`
	Median  time.Duration `json:"median_ns,omitempty"`
	P99     time.Duration `json:"p99_ns,omitempty"`
	Max     time.Duration `json:"max_ns,omitempty"`
	Value   float64       `json:"value,omitempty"`
	Unit    string        `json:"unit,omitempty"` // of Value
	Remark  string        `json:"remark,omitempty"`
}

// IsTime says that the row is times, and has no value.
func (r Row) IsTime() bool { return r.Median > 0 }

// Times makes a row of times, in whatever order.
func Times(measure, subject string, times []time.Duration) Row {
	row := Row{Measure: measure, Subject: subject, Count: len(times)}
	if n := len(times); n > 0 {
		sorted := slices.Sorted(slices.Values(times))
		row.Median, row.P99, row.Max = (sorted[(n-1)/2]+sorted[n/2])/2, sorted[(n*99+99)/100-1], sorted[n-1]
	}
	return row
}

// Value makes a row of a value, of so many things together.
func Value(measure, subject string, count int, value float64, unit string) Row {
	return Row{Measure: measure, Subject: subject, Count: count, Value: value, Unit: unit}
}

// probes runs them one after the other, each below a prefix of its own.
func (r *run) probes(ctx context.Context) error {
	began := time.Now()
	for i, p := range r.Probes {
		lab := Lab{
			Etcd:     r.Etcd,
			Prefix:   fmt.Sprintf("%sprobe-%d/", r.cluster.prefix, i),
			Subjects: r.result.Settings.Subjects,
			Command:  r.Command,
			Say:      func(text string) {},
			Add:      func(row Row) { r.result.Probes = append(r.result.Probes, row) },
		}
		if r.Progress.Probe != nil {
			lab.Say = func(text string) {
				r.Progress.Probe(Step{text, max(0, r.estimateProbes()-time.Since(began))})
			}
		}
		if err := p.Run(ctx, lab); err != nil {
			return r.because(ctx, err)
		}
	}
	return nil
}
