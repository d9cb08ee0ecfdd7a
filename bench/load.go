package bench

import "math/rand/v2"

// Load is what the workers of a cell do, turn after turn: a workload with its settings. It is a comparable value, and
// in reports its JSON form says what the settings are.
//
// [Mutex] is the shortest one. Most of a new one is its Referee's Next; [Gauge] does the rest.
type Load interface {
	About() About
	// Validate says which setting breaks which rule; see Invalid.
	Validate() error
	// Referee makes the referee of one trial in c.
	Referee(c Cell) Referee
}

// About is what reports and subjects need to know of a Load.
type About struct {
	Workload string   // one word
	Setting  string   // in a few characters: "90% reads"; may be empty
	Unit     string   // what one turn takes, as a report counts it: "acquisition", "set"
	Modes    []string // kinds of turns that are also reported apart; none when all are alike
	Names    []string // of everything that turns take, in ascending order

	// Together says that turns need each other, as those of a barrier do: they begin together, when all of the last ones
	// are over, and there is no rate.
	Together bool
}

// Turn is what a worker takes at once and gives back at once.
type Turn struct {
	Mode  int   // index into About.Modes
	Units int   // of each name; all there are of it, for a turn that must be alone
	Names []int // indexes into About.Names, ascending

	// Seen is the referee's: what it has to remember of the turns of a worker.
	Seen []int64
}

// Referee is what the workers of one trial share: it says what each of them takes next, and sees who is inside. All of
// them call it at the same time.
type Referee interface {
	// Next draws a turn, before the worker waits for it. r is the worker's own and goes through the same numbers for
	// each subject. It may leave what was drawn before in t, and use its memory again.
	Next(r *rand.Rand, t *Turn)
	// Enter is called right after Lock, and not when that has failed: then the same turn is tried again. freed is when the last one in the way of t let go, on the clock of Leave; 0 if
	// nobody was.
	Enter(t *Turn, l Locker) (freed int64)
	// Leave is called right before Unlock, at this time.
	Leave(t *Turn, at int64)
	// Safety is what it has seen, once all workers are gone.
	Safety() Safety
}

// Comer is a Referee that wants to know who begins to wait, and when.
type Comer interface {
	Referee
	// Come is called right before Lock, at this time, on the clock of Leave.
	Come(t *Turn, at int64)
}

// Mutex is the load of one lock that each turn takes for itself. A Cell without a Load has this one.
type Mutex struct{}

func (Mutex) About() About {
	return About{Workload: "mutex", Unit: "acquisition", Names: []string{"contended"}}
}

func (Mutex) Validate() error { return nil }

func (Mutex) Referee(c Cell) Referee {
	r := mutexReferee{NewGauge(1, 1)}
	if c.Fenced {
		return &fencedReferee{mutexReferee: r}
	}
	return r
}

type mutexReferee struct{ *Gauge }

var theOnlyName = []int{0}

func (mutexReferee) Next(_ *rand.Rand, t *Turn) { t.Units, t.Names = 1, theOnlyName }

// fencedReferee also offers a write under the token of each hold.
type fencedReferee struct {
	mutexReferee
	fenced
}

func (r *fencedReferee) Enter(t *Turn, l Locker) int64 {
	freed := r.mutexReferee.Enter(t, l)
	r.write("contended", l.(Fenced).Token())
	return freed
}

func (r *fencedReferee) Safety() Safety {
	s := r.mutexReferee.Safety()
	s.StaleTokens, s.RepeatedTokens = r.stale.Load(), r.repeated
	return s
}
