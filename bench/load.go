package bench

import (
	"math/rand/v2"
	"strings"
)

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
	Workload string   // one word; not empty
	Setting  string   // in a few characters: "90% reads"; may be empty
	Unit     string   // what one turn takes, as a report counts it: "acquisition", "set"; not empty
	Modes    []string // kinds of turns that are also reported apart; none when all are alike
	Names    []string // of everything that turns take, each once and at least one

	// Together says that turns need each other, as those of a barrier do: they begin together, when all of the last ones
	// are over, and there is no rate.
	Together bool
}

// validate says what an About lacks, for which reports and subjects would have no word.
func (a About) validate() error {
	switch {
	case a.Workload == "" || strings.ContainsAny(a.Workload, " \t\n"):
		return Invalid("workload is %q, want one word", a.Workload)
	case a.Unit == "":
		return Invalid("unit of workload %s is empty, want what one turn takes", a.Workload)
	case len(a.Names) == 0:
		return Invalid("workload %s has no names, want at least one", a.Workload)
	}
	seen := map[string]bool{}
	for _, name := range a.Names {
		if seen[name] {
			return Invalid("name %q of workload %s is there twice", name, a.Workload)
		}
		seen[name] = true
	}
	return nil
}

// Turn is what a worker takes at once and gives back at once.
type Turn struct {
	Mode  int   // index into About.Modes
	Units int   // of each name, 1 or more; all there are of it, for a turn that must be alone
	Names []int // indexes into About.Names, ascending, at least one

	// Seen is the referee's: what it has to remember of the turns of a worker.
	Seen []int64
}

// check says which rule of About a turn breaks: what is not taken as it says is not watched either.
func (t *Turn) check(about *About) error {
	switch {
	case t.Units < 1:
		return Invalid("a turn of workload %s takes %d units, want 1 or more", about.Workload, t.Units)
	case t.Mode < 0 || t.Mode >= max(1, len(about.Modes)):
		return Invalid("a turn of workload %s has mode %d, want an index into its %d modes", about.Workload, t.Mode, len(about.Modes))
	case len(t.Names) == 0:
		return Invalid("a turn of workload %s takes no names, want 1 or more", about.Workload)
	}
	last := -1
	for _, i := range t.Names {
		if i <= last || i >= len(about.Names) {
			return Invalid("a turn of workload %s takes names %v, want ascending indexes into its %d names", about.Workload, t.Names, len(about.Names))
		}
		last = i
	}
	return nil
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

// Checker is a Referee that says itself which turns cannot be. Who embeds a [Gauge] is one.
type Checker interface {
	Referee
	// Check is called after Next. Its error ends the run.
	Check(t *Turn) error
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
