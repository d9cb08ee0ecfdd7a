package main

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/fenceline/fenceline/bench"
)

// Load is many locks, of which a few are wanted most of the time: what a queue of jobs for many customers does.
type Load struct{ Customers int }

// About says what turns take.
func (l Load) About() bench.About {
	about := bench.About{Workload: "hotkeys", Setting: fmt.Sprintf("%d customers", l.Customers), Unit: "job"}
	for i := range l.Customers {
		about.Names = append(about.Names, fmt.Sprintf("customer-%03d", i))
	}
	return about
}

// Validate refuses what cannot be measured.
func (l Load) Validate() error {
	if l.Customers < 1 || l.Customers > 1000 {
		return bench.Invalid("customers is %d, want 1 to 1000", l.Customers)
	}
	return nil
}

// Referee has room for one holder of each name, and checks that.
func (l Load) Referee(bench.Cell) bench.Referee {
	return referee{bench.NewGauge(l.Customers, 1), l.Customers}
}

type referee struct {
	*bench.Gauge
	customers int
}

// Next draws a customer: half of all turns are for a sixteenth of them.
func (r referee) Next(draw *rand.Rand, t *bench.Turn) {
	t.Units, t.Names = 1, append(t.Names[:0], int(float64(r.customers)*math.Pow(draw.Float64(), 4)))
}
