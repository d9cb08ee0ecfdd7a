package bench

import (
	"flag"
	"fmt"
	"strconv"
	"strings"
)

// Workload is a kind of Load together with who can be measured under it and what to measure when nobody says more: all
// that a front end such as the command needs. Package workload lists them.
type Workload struct {
	Name       string
	Short      string // what it measures, half a sentence
	Long       string // the same for its help: what a turn is, and what is checked
	Subjects   Subjects
	Versus     []string // the subjects of a run that names none; ratios are to the last one
	Contenders []int    // of a run that names none
	Tour       []Cell   // of a run that names nothing at all; nil: the grid of all defaults

	// Exclusive is a load of which a turn of the last mode, of all names, keeps everybody else out: what is held when a process
	// is killed, to see how long it stays so. nil: that is not measured.
	Exclusive Load

	// Flags declares the workload's own settings. cells is called when they are parsed, and makes the cells of a run
	// from a grid of contenders, goroutines and holds.
	Flags func(*flag.FlagSet) (cells func(grid []Cell) []Cell)
	// Probes does the same for what it measures besides turns. nil: nothing.
	Probes func(*flag.FlagSet) (probes func() []Probe)
}

// Ints declares a flag that is a list of numbers, separated by commas. Given more than once, the lists are joined.
func Ints(f *flag.FlagSet, name string, value []int, usage string) *[]int {
	l := &ints{values: value}
	f.Var(l, name, usage)
	return &l.values
}

type ints struct {
	values []int
	given  bool // the default is gone
}

func (l *ints) String() string {
	texts := make([]string, len(l.values))
	for i, v := range l.values {
		texts[i] = strconv.Itoa(v)
	}
	return strings.Join(texts, ",")
}

func (l *ints) Set(text string) error {
	var values []int
	for field := range strings.SplitSeq(text, ",") {
		v, err := strconv.Atoi(strings.TrimSpace(field))
		if err != nil {
			return fmt.Errorf("%q is not a whole number, want a list of them, such as 1,8", field)
		}
		values = append(values, v)
	}
	if l.given {
		values = append(l.values, values...)
	}
	l.values, l.given = values, true
	return nil
}
