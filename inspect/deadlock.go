package inspect

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/internal/queue"
	"github.com/fenceline/fenceline/internal/show"
)

// Deadlock is a circle of owners who wait for each other: each wait is for what the next one has. None of them can go on unless one of them gives
// up.
type Deadlock struct {
	// Possible: not all of them have said for whom they wait and hold, so that sessions stand for owners. A process whose goroutines wait
	// for each other's locks in a circle looks the same as one in which one goroutine waits and others hold.
	Possible bool   `json:"possible,omitempty"`
	Waits    []Wait `json:"waits"`
}

// Wait is one of a Deadlock.
type Wait struct {
	Owner string `json:"owner"` // or "session 1a2b": its lease
	Who   string `json:"who"`   // the process
	Kind  string `json:"kind"`  // what it waits for
	Name  string `json:"name"`
	Key   string `json:"key"` // its entry there
	For   string `json:"for"` // the owner who has it, or is before it
	Entry *Entry `json:"-"`
}

// String is one line for each who waits.
func (d Deadlock) String() string {
	var b strings.Builder
	if d.Possible {
		b.WriteString("possible deadlock: sessions stand for owners who have not been named\n")
	} else {
		b.WriteString("deadlock\n")
	}
	for _, w := range d.Waits {
		fmt.Fprintf(&b, "  %s (%s) waits for %s %s, behind %s\n", show.Printable(w.Owner), show.Printable(w.Who), w.Kind, show.Printable(w.Name), show.Printable(w.For))
	}
	return b.String()
}

// Deadlocks finds who waits for whom in circles, over all lines of the snapshot: so it has to be one of a whole namespace. Since everything was
// read at one revision, none of them was made up of states that never were together. Who waits with a time-out may still leave one: read again,
// before somebody is ended for it (see Confirmed).
//
// Owners are those of session.WithOwner, which Do and Lead provide. An entry without one counts for its session, and then a deadlock is only a
// possible one. Those in line for several locks at once cannot be in one by themselves, since they stand in the same order everywhere.
func (s *Snapshot) Deadlocks() []Deadlock {
	exact := s.deadlocks(func(e *Entry) string { return e.Owner })
	known := map[int64]bool{}
	for _, d := range exact {
		for _, w := range d.Waits {
			known[w.Entry.Revision] = true
		}
	}
	for _, d := range s.deadlocks(func(e *Entry) string {
		if e.Owner != "" || e.owner == clientv3.NoLease {
			return e.Owner
		}
		if e.Session != nil && e.Session.Of != "" {
			return "session " + e.Session.Of
		}
		return "session " + keyspace.Lease(e.owner)
	}) {
		if len(d.Waits) == 1 { // a process in which one waits for what another has
			continue
		}
		if !slices.ContainsFunc(d.Waits, func(w Wait) bool { return known[w.Entry.Revision] }) {
			d.Possible = true
			exact = append(exact, d)
		}
	}
	return exact
}

// Confirmed are those of these deadlocks that are also in a later snapshot, of the same entries.
func (s *Snapshot) Confirmed(before []Deadlock) []Deadlock {
	var still []Deadlock
	for _, d := range s.Deadlocks() {
		if slices.ContainsFunc(before, func(o Deadlock) bool { return o.same(d) }) {
			still = append(still, d)
		}
	}
	return still
}

func (d Deadlock) same(o Deadlock) bool {
	return slices.EqualFunc(d.Waits, o.Waits, func(a, b Wait) bool { return a.Key == b.Key && a.Entry.Revision == b.Entry.Revision })
}

// deadlocks reduces the lines: whoever waits for nothing goes on, and sooner or later gives back all that it has; then others do not wait any
// more. Who is left waits for ever. Entries without an owner are nobody's but their own: they go on as soon as they have entered.
func (s *Snapshot) deadlocks(ownerOf func(*Entry) string) []Deadlock {
	r := reduction{owners: map[string]*owner{}}
	for _, l := range s.Lines {
		if _, ok := policies[l.Kind]; !ok && l.Kind != Semaphore {
			continue
		}
		for i := range l.Entries {
			e := &l.Entries[i]
			name := ownerOf(e)
			if name == "" || e.State == Released {
				name = "entry " + e.Key
			}
			o := r.owners[name]
			if o == nil {
				o = &owner{name: name}
				r.owners[name] = o
			}
			o.entries = append(o.entries, place{l, i})
		}
		r.lines = append(r.lines, l)
	}
	r.gone = make(map[*Line][]bool, len(r.lines))
	for _, l := range r.lines {
		r.gone[l] = make([]bool, len(l.Entries))
	}
	r.run()
	return r.circles()
}

// place is an entry of a line.
type place struct {
	line *Line
	i    int
}

type owner struct {
	name    string
	entries []place
	gone    bool
}

type reduction struct {
	lines  []*Line
	owners map[string]*owner
	gone   map[*Line][]bool // entries that were given back
}

func (r *reduction) run() {
	in := map[*Line][]bool{}
	stale := map[*Line]bool{}
	for _, l := range r.lines {
		stale[l] = true
	}
	for len(stale) > 0 {
		for l := range stale {
			in[l] = l.entered(func(i int) bool { return !r.gone[l][i] })
		}
		clear(stale)
		for _, o := range r.owners {
			if o.gone || slices.ContainsFunc(o.entries, func(p place) bool { return in[p.line] != nil && !in[p.line][p.i] }) {
				continue
			}
			o.gone = true
			for _, p := range o.entries {
				r.gone[p.line][p.i] = true
				stale[p.line] = true
			}
		}
	}
}

// circles follows from each owner that is left to one that it waits for.
func (r *reduction) circles() (all []Deadlock) {
	of := map[place]*owner{}
	var left []*owner
	for _, o := range r.owners {
		if o.gone {
			continue
		}
		left = append(left, o)
		for _, p := range o.entries {
			of[p] = o
		}
	}
	slices.SortFunc(left, func(a, b *owner) int { return cmp.Compare(a.name, b.name) })
	done := map[*owner]bool{}
	for _, o := range left {
		var path []*owner
		var waits []Wait
		for !done[o] && !slices.Contains(path, o) {
			w, next := r.waitOf(o, of)
			path, waits = append(path, o), append(waits, w)
			if next == nil {
				break
			}
			o = next
		}
		if i := slices.Index(path, o); i >= 0 && len(waits) == len(path) && waits[len(waits)-1].For == o.name {
			all = append(all, Deadlock{Waits: waits[i:]})
		}
		for _, o := range path {
			done[o] = true
		}
	}
	return all
}

// waitOf is for what o waits that has not been given back, and the owner of the entry in its way: one that has entered, if there is one.
func (r *reduction) waitOf(o *owner, of map[place]*owner) (Wait, *owner) {
	for _, p := range o.entries {
		in := p.line.entered(func(i int) bool { return !r.gone[p.line][i] })
		if in == nil || in[p.i] {
			continue
		}
		e := &p.line.Entries[p.i]
		w := Wait{Owner: o.name, Who: e.Who(), Kind: p.line.Kind, Name: p.line.Name, Key: e.Key, Entry: e}
		var before *owner
		for i := range p.i {
			shares := e.Mode == queue.ReadValue && p.line.Entries[i].Mode == e.Mode
			if r.gone[p.line][i] || shares || of[place{p.line, i}] == o && !in[i] {
				continue
			}
			before = of[place{p.line, i}]
			if in[i] {
				break
			}
		}
		if before != nil {
			w.For = before.name
		}
		return w, before
	}
	return Wait{}, nil
}
