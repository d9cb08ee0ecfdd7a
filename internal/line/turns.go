package line

import "sort"

// turns gives the grants of one entry their tokens.
//
// There are some 4 000 of them, and a local grant takes a microsecond: if each took a turn, an entry would be used up every ten milliseconds.
// So a grant takes one when its token is asked for. Before it a turn is set aside for those grants that were not asked until then, and may
// be yet: it is smaller than all that come later, and larger than all that came before. If several of them are asked after that, they share
// it. Nobody who is asked while he holds a lock by himself shares his.
type turns struct {
	grants int   // so far
	next   int   // turn that is free
	last   int   // grants up to the last one that was asked
	gaps   []gap // in order
	least  int   // of an inherited entry
}

// gap are grants that were not asked before a later one was.
type gap struct{ from, to, turn int } // [from, to)

// full says that the entry has no more turns; one is kept for grants that are asked too late.
func (t *turns) full() bool { return t.next >= ownTurns }

// grant counts one.
func (t *turns) grant() (number int) {
	t.grants++
	return t.grants - 1
}

// of is the turn of a grant that is asked for the first time.
func (t *turns) of(number int) int {
	if number < t.last {
		i := sort.Search(len(t.gaps), func(i int) bool { return number < t.gaps[i].to })
		return t.gaps[i].turn
	}
	if number > t.last { // somebody before it was not asked
		t.gaps = append(t.gaps, gap{t.last, number, t.take()})
	}
	t.last = number + 1
	return t.take()
}

func (t *turns) take() int {
	turn := min(t.next, max(ownTurns, t.least))
	t.next++
	return turn
}
