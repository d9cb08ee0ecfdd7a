// Package barrier is the workload of a barrier that all contenders pass together, round after round.
package barrier

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/fenceline/fenceline/bench"
)

// Load is a barrier of so many parties: as many as the cell has goroutines in all.
type Load struct {
	Parties int `json:"parties"`
}

// About says that turns begin together: etcd's recipe cannot stand a round that begins before everybody has left the last one.
func (l Load) About() bench.About {
	return bench.About{Workload: "barrier", Unit: "pass", Names: []string{fmt.Sprintf(nameFormat, l.Parties)}, Together: true}
}

// nameFormat tells the subjects the number of parties, who know nothing of a load but its names.
const nameFormat = "parties-%d"

// Validate wants at least one party.
func (l Load) Validate() error {
	if l.Parties < 1 {
		return bench.Invalid("parties is %d, want at least 1", l.Parties)
	}
	return nil
}

// Referee counts who has come.
func (l Load) Referee(bench.Cell) bench.Referee { return &referee{parties: int64(l.Parties)} }

// referee finds those who are through before all have come. Rounds share a few slots: no more than two are under way.
type referee struct {
	parties int64
	rounds  [4]struct {
		came     atomic.Int64
		complete atomic.Int64 // when the last one came
	}
	late  atomic.Bool // somebody has been
	early atomic.Int64
}

// lateBy is what one party lets the others wait in the first round, to find out who does not.
const lateBy = 50 * time.Millisecond

// Next counts the rounds of a worker in t.Seen.
func (r *referee) Next(_ *rand.Rand, t *bench.Turn) {
	t.Units, t.Names = 1, theOnlyName
	if len(t.Seen) == 0 {
		t.Seen = append(t.Seen, 0)
	}
	if t.Seen[0]++; r.late.CompareAndSwap(false, true) {
		time.Sleep(lateBy)
	}
}

var theOnlyName = []int{0}

func (r *referee) Come(t *bench.Turn, at int64) {
	n := t.Seen[0]
	if round := &r.rounds[n%4]; round.came.Add(1) == r.parties {
		round.complete.Store(at)
		r.rounds[(n+2)%4].came.Store(0) // nobody is there: they would have to pass this one, and the next
	}
}

// Enter returns when the last party has come: that it had not was in the way.
func (r *referee) Enter(t *bench.Turn, _ bench.Locker) int64 {
	round := &r.rounds[t.Seen[0]%4]
	if round.came.Load() < r.parties {
		r.early.Add(1)
		return 0
	}
	return round.complete.Load()
}

func (r *referee) Leave(*bench.Turn, int64) {}

func (r *referee) Safety() bench.Safety { return bench.Safety{Early: r.early.Load()} }

// Workload measures it for a few numbers of parties.
func Workload() bench.Workload {
	return bench.Workload{
		Name:  "barrier",
		Short: "Measure a barrier that all contenders pass together",
		Long: `Measure a barrier: each contender is a party, and all come at once, go through, and leave; the next round begins when the
last has left. Each pass of one party counts. Acquire is from when a party comes until it is through, and hand-over from when
the last one comes. The rival is the double barrier of etcd's recipes. It is checked that nobody is through before all have
come; in the first round one party is late on purpose.`,
		Subjects:   subjects,
		Versus:     []string{"fenceline", "etcd"},
		Contenders: []int{2, 8, 32},
		Flags: func(*flag.FlagSet) func([]bench.Cell) []bench.Cell {
			return func(grid []bench.Cell) []bench.Cell {
				for i := range grid {
					grid[i].Load = Load{Parties: grid[i].Contenders * grid[i].Goroutines}
				}
				return grid
			}
		},
	}
}
