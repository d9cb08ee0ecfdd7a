package line

import (
	"cmp"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Entry is one place in a line, as etcd shows it.
type Entry struct {
	Key    string
	Create int64 // create revision: the position in the line, and the fencing token
	Mod    int64 // mod revision
	Lease  clientv3.LeaseID
	Value  []byte
}

// Rule is what a primitive makes of a line. Both functions read entries in order, first come first.
type Rule struct {
	Value  string // of our entries
	Suffix string // of their keys
	Dir    string // where they stand below the prefix; ends with a slash, or is empty

	// Blocker says who of those ahead has to leave before one may enter: the nearest. −1: one may enter. It must be
	// monotone: what it allows it also allows with fewer ahead.
	Blocker func(ahead []Entry) int
	// In is how many of a line, from the front, have entered.
	In func(line []Entry) int

	// Learn is shown all entries of the line, in any order, before either is asked; nil: it has nothing to learn.
	Learn func(line []Entry)
	// Whole says that those who wait have to see every change in the line.
	Whole bool
	// Alone says whether the nearest of those ahead is in the way whatever the others do. nil: it always is. If it is not,
	// the line is watched as a whole.
	Alone func(ahead []Entry) bool
	// Departures says that those who watch the whole line need to hear only who leaves it: who is ahead the enqueue's
	// answer lists. It needs Values.
	Departures bool
	// Side is a key that may let us enter when it changes; empty: there is none.
	Side string
	// Refuse says why one who has to wait would wait for ever; nil: nobody ever would.
	Refuse func() error
	// Terms are what an enqueue asks for besides; nil: nothing.
	Terms func() Terms

	// Values says that both need to know all entries with their values. Else they are content with the nearest, and
	// with a number.
	Values bool
	// Joins says whether one who holds here may be joined by another, on the same entry, with e behind it. nil: never.
	Joins func(e Entry) bool
	// Yields says whether mine, which has not entered, should go to the back of the line. nil: never. It needs the whole
	// line to be watched.
	Yields func(line []Entry, mine Entry) bool
}

// Terms are conditions of an enqueue, what it writes if they hold, and what it asks for if not. Refused is told the
// answers: an error says that they cannot hold, again that an enqueue may be sent on other terms, neither that they do.
type Terms struct {
	If         []clientv3.Cmp
	Then, Else []clientv3.Op
	Refused    func([]*pb.ResponseOp) (again bool, err error)
}

// refusal is the reason of terms that do not hold. It is the end for all who wait.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// Nobody is the rule of a mutex and of an election.
var Nobody = Rule{Blocker: nearest, In: oneIn}

// The values of entries of a read-write lock.
const (
	ReadValue  = "read"
	WriteValue = "write"
)

// Reader and Writer are the rules of a read-write lock. An entry that does not say what it is counts as a writer's.
var (
	Reader = Rule{Value: ReadValue, Blocker: nearestWriter, In: readersIn, Values: true, Joins: reads}
	Writer = Rule{Value: WriteValue, Blocker: nearest, In: readersIn, Values: true}
)

func nearest(ahead []Entry) int { return len(ahead) - 1 }

func oneIn(line []Entry) int { return min(len(line), 1) }

func reads(e Entry) bool { return string(e.Value) == ReadValue }

func nearestWriter(ahead []Entry) int {
	for i := len(ahead) - 1; i >= 0; i-- {
		if !reads(ahead[i]) {
			return i
		}
	}
	return -1
}

func readersIn(line []Entry) int {
	n := slices.IndexFunc(line, func(e Entry) bool { return !reads(e) })
	switch n {
	case -1:
		return len(line)
	case 0:
		return 1
	}
	return n
}

// verdict is what a list of entries says about one of them.
type verdict int

const (
	undecided verdict = iota // the list is older than the entry
	blocked                  // somebody is before it, who has to leave first
	granted                  // it may enter, for ever
	gone                     // it does not stand in the line
)

// judge reads the entries of a line as of revision, in any order. With blocked it also answers by whom.
func (r *Rule) judge(revision int64, entries []Entry, mine Entry) (verdict, Entry) {
	if revision < mine.Create {
		return undecided, Entry{}
	}
	if r.Learn != nil {
		r.Learn(entries)
	}
	if !slices.ContainsFunc(entries, func(e Entry) bool { return e.Key == mine.Key && same(e, mine) }) {
		return gone, Entry{}
	}
	before := ahead(entries, mine)
	if i := r.Blocker(before); i >= 0 {
		return blocked, before[i]
	}
	return granted, Entry{}
}

// ahead are the entries before mine, in order.
func ahead(entries []Entry, mine Entry) []Entry {
	var before []Entry
	for _, e := range entries {
		if e.Create < mine.Create {
			before = append(before, e)
		}
	}
	inOrder(before)
	return before
}

func inOrder(entries []Entry) {
	slices.SortFunc(entries, func(a, b Entry) int { return cmp.Compare(a.Create, b.Create) })
}

// waiting is how many of those before mine have not entered.
func (r *Rule) waiting(entries []Entry, mine Entry) int {
	before := ahead(entries, mine)
	return len(before) - r.In(before)
}

// same says whether e is the very entry mine: deleting it and creating it again changes the one, overwriting it the
// other, or its lease if it is not we who did. A read of keys only does not tell the lease, since etcd 3.7.
func same(e, mine Entry) bool {
	return e.Create == mine.Create && (e.Mod == mine.Mod || e.Lease == mine.Lease)
}

// alone says whether no other entry than mine stands in the line.
func alone(entries []Entry, mine Entry) bool {
	return len(entries) == 1 && entries[0].Key == mine.Key
}
