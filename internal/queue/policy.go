package queue

import (
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keyspace"
)

// Policy is what a primitive makes of a line. Its functions read entries in order, first come first.
type Policy struct {
	Value  string // of our entries
	Suffix string // of their keys
	Dir    string // where they stand below the prefix; ends with a slash, or is empty

	// Blocker returns which of those ahead has to leave before one may enter: the nearest. −1: one may enter. It must be monotone: what it
	// allows it also allows with fewer ahead.
	Blocker func(ahead []Entry) int
	// Entered returns how many of a line, from the front, have entered.
	Entered func(line []Entry) int

	// Learn is shown all entries of the line, in any order, before either is asked; nil: it has nothing to learn.
	Learn func(line []Entry)
	// Whole says that those who wait have to see every change in the line.
	Whole bool
	// Alone says whether the nearest of those ahead is in the way whatever the others do. nil: it always is. If it is not, the line is watched
	// as a whole.
	Alone func(ahead []Entry) bool
	// Departures says that those who watch the whole line need to hear only who leaves it: who is ahead the enqueue's answer lists. It needs
	// Values.
	Departures bool
	// Beside is a key that may let us enter when it changes; empty: there is none.
	Beside string
	// Horizon is how many of those ahead, the nearest, are in the way whoever else is ahead, as far as that is known; nil or 0: that cannot be
	// said. In a long line it is enough then to look at these, and to watch them.
	Horizon func() int
	// Fits says whether a line fits in whole, from less than a list: how many entries stand there, the newest of them ours, and which of those
	// have a mark. nil: it takes the list.
	Fits func(count int64, marked []Entry) bool
	// Mark begins the last part of the keys of our entries, if they are of those.
	Mark string
	// Hopeless says why one who has to wait would wait for ever; nil: nobody ever would.
	Hopeless func() error
	// Terms are what an enqueue asks for besides; nil: nothing.
	Terms func() Terms

	// Values says that both Blocker and Entered need to know all entries with their values. Else they are content with the nearest, and with a
	// number.
	Values bool
	// Shares says whether one who holds here may be joined by another, on the same entry, with e behind it. nil: never.
	Shares func(e Entry) bool
	// Yields says whether mine, which has not been granted, should go to the back of the line. nil: never. It needs the whole line to be
	// watched.
	Yields func(line []Entry, mine Entry) Yielding
}

// Yielding is whether an entry should go to the back of its line.
type Yielding int

// Whoever yields at once costs two transactions each time that somebody comes: n² for n who come. So what is not urgent waits for a while.
const (
	Stays      Yielding = iota
	YieldsSoon          // once it is others' turn to do so
	YieldsNext          // after a while
	YieldsNow
)

// Terms are conditions of an enqueue, what it writes if they hold, and what it asks for if not. Refused is told the answers: an error says
// that they cannot hold, again that an enqueue may be sent on other terms, neither that they do.
type Terms struct {
	If         []clientv3.Cmp
	Then, Else []clientv3.Op
	Refused    func([]*pb.ResponseOp) (again bool, err error)
}

// Mutex is the policy of a mutex and of an election: nobody else may be in.
var Mutex = Policy{Blocker: nearest, Entered: oneIn}

// The values of entries of a read-write lock.
const (
	ReadValue  = "read"
	WriteValue = "write"
)

// Reader and Writer are the policies of a read-write lock. An entry that does not say what it is counts as a writer's.
var (
	Reader = Policy{Value: ReadValue, Blocker: nearestWriter, Entered: readersIn, Values: true, Shares: reads}
	Writer = Policy{Value: WriteValue, Blocker: nearest, Entered: readersIn, Values: true}
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

// Verdict is what a list of entries says about one of them.
type Verdict int

// The verdicts.
const (
	Undecided Verdict = iota // the list is older than the entry
	Blocked                  // somebody is before it, who has to leave first
	Granted                  // it may enter, for ever
	Gone                     // it does not stand in the line
)

var verdictNames = [...]string{"undecided", "blocked", "granted", "gone"}

func (v Verdict) String() string { return verdictNames[v] }

// Single says that one entry enters at a time, whatever its value: as with a mutex, or an election.
func (p *Policy) Single() bool { return !p.Values && p.Shares == nil && p.Terms == nil }

// Judge reads the entries of a line as of revision, in any order. With Blocked it also returns by whom.
func (p *Policy) Judge(revision int64, entries []Entry, mine Entry) (Verdict, Entry) {
	if revision < mine.Create {
		return Undecided, Entry{}
	}
	if p.Learn != nil {
		p.Learn(entries)
	}
	if !slices.ContainsFunc(entries, func(e Entry) bool { return e.Key == mine.Key && Same(e, mine) }) {
		return Gone, Entry{}
	}
	before := Ahead(entries, mine)
	if i := p.Blocker(before); i >= 0 {
		return Blocked, before[i]
	}
	return Granted, Entry{}
}

// Waiting returns how many of those before mine have not entered.
func (p *Policy) Waiting(entries []Entry, mine Entry) int {
	before := Ahead(entries, mine)
	return len(before) - p.Entered(before)
}

// First returns who of a line is in the way of one who comes last, and whether it has entered. Entries are in order.
func (p *Policy) First(line []Entry) (e Entry, entered, found bool) {
	in, blocked := p.Entered(line), p.Blocker(line) >= 0
	for i, e := range line {
		if _, mark := keyspace.Transferred("", e.Key[strings.LastIndexByte(e.Key, '/')+1:]); mark {
			continue
		}
		if blocked && p.Shares != nil && p.Shares(e) { // a reader is not in a reader's way
			continue
		}
		return e, i < in, true
	}
	return e, false, false
}

// KeepsOut says whether any of these keeps others from sharing our entry.
func (p *Policy) KeepsOut(entries []Entry) bool {
	return slices.ContainsFunc(entries, func(e Entry) bool { return !p.Shares(e) })
}
