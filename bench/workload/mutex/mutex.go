// Package mutex is the workload of one lock that each turn takes for itself.
package mutex

import (
	"flag"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/subject"
)

// Workload measures bench.Mutex, by default on the tour of bench.DefaultCells.
func Workload() bench.Workload {
	return bench.Workload{
		Name:       bench.Mutex{}.About().Workload,
		Short:      "Measure one lock that one holder has at a time",
		Subjects:   subject.Mutexes,
		Versus:     []string{"fenceline", "etcd"},
		Contenders: []int{1, 2, 8, 32},
		Tour:       bench.DefaultCells(),
		Exclusive:  bench.Mutex{},
		Flags: func(f *flag.FlagSet) func([]bench.Cell) []bench.Cell {
			fenced := f.Bool("fenced", false, "look at the token of each hold and write through a gate")
			return func(grid []bench.Cell) []bench.Cell {
				for i := range grid {
					grid[i].Fenced = *fenced
				}
				return grid
			}
		},
	}
}
