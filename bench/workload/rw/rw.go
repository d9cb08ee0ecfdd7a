// Package rw is the workload of one lock that has one writer or many readers.
package rw

import (
	"flag"
	"fmt"
	"math/rand/v2"

	"github.com/fenceline/fenceline/bench"
)

// Modes of a turn.
const (
	Read = iota
	Write
)

// Load draws for each turn whether it reads or writes.
type Load struct {
	Readers int `json:"readers_percent"` // how many of a hundred turns read
}

func (l Load) About() bench.About {
	return bench.About{
		Workload: "rw",
		Setting:  fmt.Sprintf("%d%% reads", l.Readers),
		Unit:     "acquisition",
		Modes:    []string{Read: "read", Write: "write"},
		Names:    []string{"contended"},
	}
}

func (l Load) Validate() error {
	if l.Readers < 0 || l.Readers > 100 {
		return bench.Invalid("readers is %d, want a percentage from 0 to 100", l.Readers)
	}
	return nil
}

// room is for more readers than a cell may have workers. A writer takes all of it.
const room = 1 << 20

func (l Load) Referee(bench.Cell) bench.Referee { return referee{bench.NewGauge(1, room), l.Readers} }

type referee struct {
	*bench.Gauge
	readers int
}

var theOnlyName = []int{0}

func (r referee) Next(draw *rand.Rand, t *bench.Turn) {
	t.Names = theOnlyName
	if draw.IntN(100) < r.readers {
		t.Mode, t.Units = Read, 1
	} else {
		t.Mode, t.Units = Write, room
	}
}

// Workload measures it for a few shares of readers.
func Workload() bench.Workload {
	return bench.Workload{
		Name:  "rw",
		Short: "Measure a lock with one writer or many readers",
		Long: `Measure one lock that has one writer or many readers, for several shares of readers. Before each turn a
contender draws whether it reads or writes; every subject sees the same draws. A row has all turns, the two below it
what readers and what writers got. It is checked that writers are alone.`,
		Subjects:   subjects,
		Versus:     []string{"fenceline", "etcd"},
		Contenders: []int{8},
		Exclusive:  Load{},
		Flags: func(f *flag.FlagSet) func([]bench.Cell) []bench.Cell {
			shares := bench.Ints(f, "readers", []int{0, 50, 90, 99}, "`percentages` of turns that read; each is measured")
			return func(grid []bench.Cell) []bench.Cell {
				var loads []bench.Load
				for _, share := range *shares {
					loads = append(loads, Load{share})
				}
				return bench.Each(grid, loads...)
			}
		},
	}
}
