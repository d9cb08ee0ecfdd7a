package line

import (
	"cmp"
	"slices"

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

// Rule says whether one may enter with these entries ahead, which are in order. It must be monotone: what it allows
// it also allows with fewer ahead.
type Rule func(ahead []Entry) bool

// Nobody is the rule of a mutex and of an election.
func Nobody(ahead []Entry) bool { return len(ahead) == 0 }

// verdict is what a list of entries says about one of them.
type verdict int

const (
	undecided verdict = iota // the list is older than the entry
	ahead                    // others are before it
	granted                  // it may enter, for ever
	gone                     // it does not stand in the line
)

// judge reads the entries of a line as of revision, in any order.
func judge(revision int64, entries []Entry, mine Entry, may Rule) verdict {
	if revision < mine.Create {
		return undecided
	}
	found := false
	var before []Entry
	for _, e := range entries {
		switch {
		case e.Key == mine.Key:
			found = same(e, mine)
		case e.Create < mine.Create:
			before = append(before, e)
		}
	}
	if !found {
		return gone
	}
	slices.SortFunc(before, func(a, b Entry) int { return cmp.Compare(a.Create, b.Create) })
	if may(before) {
		return granted
	}
	return ahead
}

// same says whether e is the very entry mine, untouched: deleting and creating it again changes the one revision,
// overwriting it the other.
func same(e, mine Entry) bool { return e.Create == mine.Create && e.Mod == mine.Mod }

// alone says whether no other entry than mine stands in the line.
func alone(entries []Entry, mine Entry) bool {
	return len(entries) == 1 && entries[0].Key == mine.Key
}
