// Package semaphore is the workload of a number of units, of which each turn takes one.
package semaphore

import (
	"flag"
	"fmt"
	"math/rand/v2"

	"github.com/fenceline/fenceline/bench"
)

// Load has so many units.
type Load struct {
	Limit int `json:"limit"`
}

func (l Load) About() bench.About {
	return bench.About{
		Workload: "semaphore",
		Setting:  fmt.Sprintf("limit %d", l.Limit),
		Unit:     "acquisition",
		Names:    []string{fmt.Sprintf(nameFormat, l.Limit)},
	}
}

// nameFormat tells the subjects the limit, who know nothing of a load but its names.
const nameFormat = "limit-%d"

func (l Load) Validate() error {
	if l.Limit < 1 {
		return bench.Invalid("limit is %d, want at least 1", l.Limit)
	}
	return nil
}

func (l Load) Referee(bench.Cell) bench.Referee { return referee{bench.NewGauge(1, l.Limit)} }

type referee struct{ *bench.Gauge }

var theOnlyName = []int{0}

func (referee) Next(_ *rand.Rand, t *bench.Turn) { t.Units, t.Names = 1, theOnlyName }

// Workload measures it for a few limits.
func Workload() bench.Workload {
	return bench.Workload{
		Name:  "semaphore",
		Short: "Measure a semaphore with several limits",
		Long: `Measure a semaphore, of which each turn takes one unit, with several limits. No Go library on etcd has one, so the
rival is what people write: as many of etcd's mutexes as there are units, tried at random. It is checked that no more
units are held than there are.`,
		Subjects:   subjects,
		Versus:     []string{"fenceline", "etcd-slots"},
		Contenders: []int{8, 32},
		Exclusive:  Load{Limit: 1},
		Flags: func(f *flag.FlagSet) func([]bench.Cell) []bench.Cell {
			limits := bench.Ints(f, "limits", []int{1, 4, 16}, "`numbers` of units; each is measured")
			return func(grid []bench.Cell) []bench.Cell {
				var loads []bench.Load
				for _, limit := range *limits {
					loads = append(loads, Load{limit})
				}
				return bench.Each(grid, loads...)
			}
		},
	}
}
