package line

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/fenceline/fenceline/internal/queue"
)

var states = flag.Int("states", defaultStates, "how many states TestEveryOrderOfEvents looks at, of each kind")

// TestEveryOrderOfEvents takes three processes that want two names, one of them both at once, through every order of events up to a number of
// states: requests that arrive, or late, or never; answers that are lost; watches that tell in their own time; callers who give up; a lease that
// ends. From there it goes on at random to where nothing is under way any more. After each event nobody holds a name beside another, each
// hold's entry is the first in etcd, and each machine is as check says. At rest nobody waits, and nothing is left.
//
// go test ./internal/line -run TestEveryOrderOfEvents -states 1000000 goes deeper.
func TestEveryOrderOfEvents(t *testing.T) {
	walks := 1_000
	for name, b := range map[string]budget{
		"nothing goes wrong":   {wants: 2},
		"an answer is lost":    {wants: 1, lost: 1},
		"a request comes late": {wants: 1, late: 1},
		"a caller gives up":    {wants: 1, cancels: 1},
		"a lease ends":         {wants: 1, ends: 1},
		"somebody deletes":     {wants: 1, deletes: 1},
		"looked at":            {wants: 2, looks: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &search{t: t, budget: b, seen: map[string]bool{}}
			ends := s.all(*states)
			t.Logf("%d states: every order of %d events; %d ways go on", len(s.seen), s.deepest, len(ends))
			random := rand.New(rand.NewPCG(1, 2))
			for range min(walks, len(ends)) {
				s.walk(ends[random.IntN(len(ends))], random)
			}
		})
	}
}

// TestPermitsInALongLine takes three processes that want one of two units each, at the back of a line of strangers who leave in any order, through
// thousands of orders of events. Nobody ever holds beside more than one other, and at rest nobody waits.
func TestPermitsInALongLine(t *testing.T) {
	for name, b := range map[string]budget{
		"nothing goes wrong": {wants: 3, strangers: 18},
		"an answer is lost":  {wants: 2, lost: 1, strangers: 18},
		"a lease ends":       {wants: 2, ends: 1, strangers: 18},
		"a caller gives up":  {wants: 3, cancels: 2, strangers: 18},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &search{t: t, budget: b, seen: map[string]bool{}}
			random := rand.New(rand.NewPCG(3, 4))
			for range *states / 10 {
				s.walk(nil, random)
			}
		})
	}
}

// budget is how often what is not a matter of course may happen.
type budget struct{ wants, lost, late, cancels, ends, deletes, looks, strangers int }

// roomFor2 is the policy of a semaphore of two, whose entries are of one unit each.
var roomFor2 = queue.Policy{
	Values: true, Departures: true, Horizon: func() int { return 2 },
	Alone:   func([]queue.Entry) bool { return false },
	Blocker: roomForTwo.Blocker, Entered: roomForTwo.Entered,
}

// search is breadth first. A state is reached anew by its path each time, since a machine cannot be copied.
type search struct {
	t       *testing.T
	budget  budget
	seen    map[string]bool
	deepest int // every order of so many events was tried
}

// all tries every order of events until so many states were seen, and returns the paths of the last ones.
func (s *search) all(most int) (paths [][]byte) {
	paths = [][]byte{nil}
	for ; len(s.seen) < most && len(paths) > 0; s.deepest++ {
		var longer [][]byte
		for _, path := range paths {
			for i := range s.replay(path).choices() {
				next := append(slices.Clone(path), byte(i))
				w := s.replay(next)
				s.check(w)
				if state := w.state(); !s.seen[state] {
					s.seen[state] = true
					longer = append(longer, next)
				}
			}
			if len(s.seen) >= most {
				return append(paths, longer...)
			}
		}
		paths = longer
	}
	return paths
}

// walk goes on at random from where path leads, until nothing is under way.
func (s *search) walk(path []byte, random *rand.Rand) {
	w := s.replay(path)
	for range 1000 {
		choices := w.choices()
		if len(choices) == 0 {
			return
		}
		w.choose(choices[random.IntN(len(choices))])
		s.check(w)
	}
	s.t.Fatalf("it does not end\n%s", w.log.String())
}

func (s *search) check(w *model) {
	if err := w.check(); err != nil {
		s.t.Fatalf("%v, after\n%s", err, w.log.String())
	}
}

func (s *search) replay(path []byte) *model {
	w := newModel(s.budget)
	for _, i := range path {
		w.choose(w.choices()[i])
	}
	return w
}

func (w *model) choose(c choice) {
	fmt.Fprintf(&w.log, "%s\n", c.what)
	c.do()
}
