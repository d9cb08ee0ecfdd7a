// Package all is the workload of several locks that are taken at once.
package all

import (
	"flag"
	"fmt"
	"math/rand/v2"

	"github.com/fenceline/fenceline/bench"
)

// Load draws for each turn which of the names it takes.
type Load struct {
	Names int `json:"names"`
	Take  int `json:"take"` // of them, at once
}

func (l Load) About() bench.About {
	a := bench.About{Workload: "all", Setting: fmt.Sprintf("%d of %d", l.Take, l.Names), Unit: "set"}
	for i := range l.Names {
		a.Names = append(a.Names, fmt.Sprintf("name-%03d", i))
	}
	return a
}

// mostNames is as many as have keys of the same length.
const mostNames = 1000

func (l Load) Validate() error {
	switch {
	case l.Names < 1 || l.Names > mostNames:
		return bench.Invalid("names is %d, want 1 to %d", l.Names, mostNames)
	case l.Take < 1 || l.Take > l.Names:
		return bench.Invalid("take is %d, want 1 to %d, the number of names", l.Take, l.Names)
	}
	return nil
}

func (l Load) Referee(bench.Cell) bench.Referee {
	return referee{bench.NewGauge(l.Names, 1), l.Names, l.Take}
}

type referee struct {
	*bench.Gauge
	names, take int
}

// Next gives each set of so many names the same chance: a name is taken with the odds of what is still to be taken
// to what is still to come.
func (r referee) Next(draw *rand.Rand, t *bench.Turn) {
	t.Units, t.Names = 1, t.Names[:0]
	for i := range r.names {
		if draw.IntN(r.names-i) < r.take-len(t.Names) {
			t.Names = append(t.Names, i)
		}
	}
}

// Workload measures 4 of 6 names for a few contenders.
func Workload() bench.Workload {
	return bench.Workload{
		Name:  "all",
		Short: "Measure several locks that are taken at once",
		Long: `Measure sets of locks: at each turn a contender draws some of the names, takes the locks of all of them, and
releases them; every subject sees the same draws. fenceline takes them in one transaction, the others one by one in
ascending order. Each set counts as one acquisition. It is checked for each name that its holder is alone.`,
		Subjects:   subjects,
		Versus:     []string{"fenceline", "fenceline-sorted", "etcd"},
		Contenders: []int{1, 2, 8},
		Exclusive:  Load{Names: 2, Take: 2},
		Flags: func(f *flag.FlagSet) func([]bench.Cell) []bench.Cell {
			names := f.Int("names", 6, "`number` of names there are")
			take := f.Int("take", 4, "`number` of them that a turn takes")
			return func(grid []bench.Cell) []bench.Cell { return bench.Each(grid, Load{*names, *take}) }
		},
	}
}
