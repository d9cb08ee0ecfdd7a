package queue

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keyspace"
)

// Entry is one place in a line, as etcd shows it.
type Entry struct {
	Key    string
	Create int64 // create revision: the position in the line
	Mod    int64 // mod revision
	Lease  clientv3.LeaseID
	Value  []byte
}

// EntryOf is the entry that a key-value pair is.
func EntryOf(kv *mvccpb.KeyValue) Entry {
	return Entry{Key: string(kv.Key), Create: kv.CreateRevision, Mod: kv.ModRevision, Lease: clientv3.LeaseID(kv.Lease), Value: kv.Value}
}

// EntriesOf is EntryOf of each.
func EntriesOf(kvs []*mvccpb.KeyValue) []Entry {
	entries := make([]Entry, len(kvs))
	for i, kv := range kvs {
		entries[i] = EntryOf(kv)
	}
	return entries
}

// Same says whether e is the very entry mine: deleting it and creating it again changes the one, overwriting it the other, or its lease if it
// is not we who did. A read of keys only does not tell the lease, since etcd 3.7.
func Same(e, mine Entry) bool {
	return e.Create == mine.Create && (e.Mod == mine.Mod || e.Lease == mine.Lease)
}

// Alone says whether no other entry than mine stands in the line.
func Alone(entries []Entry, mine Entry) bool {
	return len(entries) == 1 && entries[0].Key == mine.Key
}

// Find returns the entry under key.
func Find(entries []Entry, key string) (Entry, bool) {
	if i := slices.IndexFunc(entries, func(e Entry) bool { return e.Key == key }); i >= 0 {
		return entries[i], true
	}
	return Entry{}, false
}

// Ahead returns the entries before mine, in order.
func Ahead(entries []Entry, mine Entry) []Entry {
	var before []Entry
	for _, e := range entries {
		if e.Create < mine.Create {
			before = append(before, e)
		}
	}
	InOrder(before)
	return before
}

// InOrder sorts entries, first come first.
func InOrder(entries []Entry) {
	slices.SortFunc(entries, func(a, b Entry) int { return cmp.Compare(a.Create, b.Create) })
}

// Owner is the lease of the session that has put e in the line with this prefix: an entry that was parked hangs on another.
func (e Entry) Owner(prefix string) clientv3.LeaseID {
	if lease, _, ours := keyspace.ParseEntry(strings.TrimPrefix(strings.TrimPrefix(e.Key, prefix), keyspace.Large)); ours {
		return lease
	}
	return e.Lease
}

// String is the key's last part, the revision, and the value if there is one: "…/7f/0@12 read".
func (e Entry) String() string {
	text := fmt.Sprintf("%s@%d", e.Key, e.Create)
	if len(e.Value) > 0 {
		text += " " + string(e.Value)
	}
	return text
}
