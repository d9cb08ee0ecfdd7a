// Package workload lists the workloads of the benchmark. A new one is a folder beside those below, with a bench.Load
// and the subjects that can stand it, and a line in All.
package workload

import (
	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/workload/all"
	"github.com/fenceline/fenceline/bench/workload/mutex"
	"github.com/fenceline/fenceline/bench/workload/rw"
	"github.com/fenceline/fenceline/bench/workload/semaphore"
)

// All is every workload there is. The first one is what is meant when none is named.
func All() []bench.Workload {
	return []bench.Workload{mutex.Workload(), rw.Workload(), all.Workload(), semaphore.Workload()}
}
