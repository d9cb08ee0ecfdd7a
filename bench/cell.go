package bench

import (
	"fmt"
	"reflect"
	"strings"
	"time"
)

// Cell is one situation to measure.
type Cell struct {
	Contenders int           `json:"contenders"`     // separate connections and sessions
	Goroutines int           `json:"goroutines"`     // per contender
	Hold       time.Duration `json:"hold_ns"`        // between Lock and Unlock, asleep
	Fenced     bool          `json:"fenced"`         // every hold looks at its token and writes through a fence.Gate; for Mutex only
	Rate       float64       `json:"rate,omitempty"` // turns that all contenders together begin in a second; 0: as soon as the last one is over
	Load       Load          `json:"-"`              // nil: Mutex
}

// DefaultCells is the tour: what more contenders do to a lock, what a hold time changes, and what many goroutines
// of few processes make of it.
func DefaultCells() []Cell {
	const hold = 10 * time.Millisecond
	return []Cell{
		{Contenders: 1, Goroutines: 1},
		{Contenders: 2, Goroutines: 1},
		{Contenders: 8, Goroutines: 1},
		{Contenders: 32, Goroutines: 1},
		{Contenders: 2, Goroutines: 1, Hold: hold},
		{Contenders: 8, Goroutines: 1, Hold: hold},
		{Contenders: 1, Goroutines: 64},
		{Contenders: 1, Goroutines: 64, Fenced: true},
		{Contenders: 4, Goroutines: 16},
	}
}

// Grid is every combination of its lists.
func Grid(contenders, goroutines []int, holds []time.Duration, fenced bool) []Cell {
	var cells []Cell
	for _, hold := range holds {
		for _, g := range goroutines {
			for _, n := range contenders {
				cells = append(cells, Cell{Contenders: n, Goroutines: g, Hold: hold, Fenced: fenced})
			}
		}
	}
	return cells
}

// Each is every cell of grid under every load.
func Each(grid []Cell, loads ...Load) []Cell {
	var cells []Cell
	for _, load := range loads {
		for _, cell := range grid {
			cell.Load = load
			cells = append(cells, cell)
		}
	}
	return cells
}

func (c Cell) load() Load {
	if c.Load == nil {
		return Mutex{}
	}
	return c.Load
}

// About is its load's.
func (c Cell) About() About { return c.load().About() }

// String is the cell in a few characters: 8, 4×16, 2 hold 10ms, 1×64 fenced; with a setting 8, 90% reads.
func (c Cell) String() string {
	var b strings.Builder
	fmt.Fprint(&b, c.Contenders)
	if c.Goroutines > 1 {
		fmt.Fprintf(&b, "×%d", c.Goroutines)
	}
	if c.Hold > 0 {
		fmt.Fprintf(&b, " hold %v", c.Hold)
	}
	if c.Fenced {
		b.WriteString(" fenced")
	}
	if c.Rate > 0 {
		fmt.Fprintf(&b, " at %v/s", c.Rate)
	}
	if setting := c.About().Setting; setting != "" {
		b.WriteString(", " + setting)
	}
	return b.String()
}

func (c Cell) validate() error {
	switch {
	case c.Contenders < 1:
		return Invalid("contenders is %d, want at least 1", c.Contenders)
	case c.Goroutines < 1:
		return Invalid("goroutines is %d, want at least 1", c.Goroutines)
	case c.Contenders > maxWorkers/c.Goroutines:
		return Invalid("contenders is %d and goroutines is %d, want at most %d together", c.Contenders, c.Goroutines, maxWorkers)
	case c.Hold < 0:
		return Invalid("hold is %v, want 0 or more", c.Hold)
	case !(c.Rate >= 0) || c.Rate > 1e6:
		return Invalid("rate is %v, want 0 to 1000000 a second", c.Rate)
	case c.Rate > 0 && c.About().Together:
		return Invalid("rate is set for %s, whose turns begin together: want 0", c.About().Workload)
	case c.Fenced && c.load() != Mutex{}:
		return Invalid("fenced is set for %s, want it for mutex only", c.About().Workload)
	}
	if !reflect.ValueOf(c.load()).Comparable() { // loads tell cells apart
		return Invalid("load of workload %s is a %T, want a value that can be compared: no slice, map or func in it", c.About().Workload, c.load())
	}
	if err := c.load().Validate(); err != nil {
		return err
	}
	return c.About().validate()
}

// maxWorkers bounds the goroutines of a cell: beyond it, one machine measures itself.
const maxWorkers = 100_000
