package cli

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/fence"
	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/internal/queue"
	"github.com/fenceline/fenceline/session"
)

const (
	lockKind      = "lock"
	rwlockKind    = "rwlock"
	electionKind  = "election"
	semaphoreKind = "semaphore"
	sessionKind   = "session"
	prefixKind    = "prefix" // a raw prefix, named by itself
	strangeKind   = "?"      // keys in the namespace that are in no line
)

// kinds are those that there are primitives for: one that is added to the library is added here.
var kinds = []string{lockKind, rwlockKind, electionKind, semaphoreKind, barrierKind, gateKind, latchKind}

const (
	stateHolds    = "holds"
	stateWaits    = "waits"
	stateReleased = "released" // but kept from others for the rest of a minimum hold
)

// rules say how many of a line have entered, where the entries tell. In a line under a raw prefix, locks of all kinds
// may stand.
var policies = map[string]queue.Policy{lockKind: queue.Mutex, electionKind: queue.Mutex, rwlockKind: queue.Reader, prefixKind: queue.Reader}

// listing is all lines at one revision.
type listing struct {
	Revision int64            `json:"revision"`
	Lines    []*line          `json:"lines"`
	limits   map[string]int64 // of semaphores, also of those that nobody uses
}

// line is everyone who wants one name, in order.
type line struct {
	Kind    string         `json:"kind"`
	Name    string         `json:"name"`
	Limit   int64          `json:"limit,omitempty"` // of a semaphore
	Entries []entry        `json:"entries"`
	inside  map[int64]bool // of a barrier: entries of rounds that were full
}

// entry is one key in a line.
type entry struct {
	Position  int             `json:"position"`             // from 1
	State     string          `json:"state,omitempty"`      // holds, waits or released, where the order alone decides; else what the kind makes of it
	KeptUntil *time.Time      `json:"kept_until,omitempty"` // of a released one, at the latest
	Mode      string          `json:"mode,omitempty"`       // of a rwlock: read or write
	Units     int64           `json:"units,omitempty"`      // of a semaphore
	Priority  int             `json:"priority,omitempty"`   // of a candidate
	Token     fence.Token     `json:"token"`                // of its first holder
	Revision  int64           `json:"revision"`             // at which it was created
	Key       string          `json:"key"`
	Lease     string          `json:"lease,omitempty"` // hex; without one the entry never goes by itself
	Value     string          `json:"value,omitempty"`
	Session   *session.Record `json:"session,omitempty"` // nil: unknown
	foreign   bool            // not a key as fenceline or etcd's concurrency package write it
	parked    bool            // under another lease than the one it came with
	lease     clientv3.LeaseID
	owner     clientv3.LeaseID // that of the session that has put it
	waitsFor  string           // the other lock of its set for which it waits, where that was asked
	version   int64            // how often it was written
	nobodys   bool             // there is nobody to name
}

// sessions reads the records among the keys. A value that is no record is nobody's.
func (f *lsFlags) sessions(kvs []*mvccpb.KeyValue) map[clientv3.LeaseID]*session.Record {
	records := map[clientv3.LeaseID]*session.Record{}
	for _, kv := range kvs {
		record := new(session.Record)
		if lease, ok := f.sessionOf(string(kv.Key)); ok && json.Unmarshal(kv.Value, record) == nil {
			records[lease] = record
		}
	}
	return records
}

// sessionOf reads the key of a session's record.
func (f *lsFlags) sessionOf(key string) (lease clientv3.LeaseID, ok bool) {
	rest, ok := strings.CutPrefix(key, f.namespace+sessionKind+"/")
	if !ok {
		return 0, false
	}
	lease, _, ok = keyspace.ParseEntry(rest)
	return lease, ok
}

// lines sorts the keys into lines, and each line by create revision, which is the order that counts.
func (f *lsFlags) lines(kvs []*mvccpb.KeyValue, sessions map[clientv3.LeaseID]*session.Record) []*line {
	kvs = slices.Clone(kvs)
	slices.SortStableFunc(kvs, func(a, b *mvccpb.KeyValue) int { return cmp.Compare(a.CreateRevision, b.CreateRevision) })
	lines, byName := []*line{}, map[[2]string]*line{} // in JSON, none is not null
	limits, rounds := f.limits(kvs), f.rounds(kvs)
	for _, kv := range kvs {
		if _, ok := f.sessionOf(string(kv.Key)); ok && f.prefix == "" {
			continue
		}
		kind, name, rest := f.place(string(kv.Key))
		if isNote(kind, rest) {
			continue
		}
		if !isEntry(kind, rest) {
			continue
		}
		l, found := byName[[2]string{kind, name}]
		if !found {
			l = &line{Kind: kind, Name: name}
			switch kind {
			case semaphoreKind:
				l.Limit = limits[name]
			case barrierKind:
				l.inside = rounds[name]
			}
			lines, byName[[2]string{kind, name}] = append(lines, l), l
		}
		l.add(kv, rest, sessions)
	}
	for _, l := range lines {
		l.judge()
	}
	together(lines)
	slices.SortStableFunc(lines, func(a, b *line) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return lines
}

// place says in which line a key stands, and what follows the line's prefix.
func (f *lsFlags) place(key string) (kind, name, rest string) {
	if f.prefix != "" {
		return prefixKind, f.prefix, strings.TrimPrefix(key, f.prefix+"/")
	}
	parts := strings.SplitN(strings.TrimPrefix(key, f.namespace), "/", 3)
	if len(parts) < 3 || parts[0] == "" || parts[0] == sessionKind || parts[1] == "" {
		return strangeKind, "", key
	}
	return parts[0], keyspace.Unescape(parts[1]), parts[2]
}

func (l *line) add(kv *mvccpb.KeyValue, rest string, sessions map[clientv3.LeaseID]*session.Record) {
	e := entry{
		Position: len(l.Entries) + 1,
		Token:    fence.TokenAt(kv.CreateRevision, 0),
		Revision: kv.CreateRevision,
		Key:      string(kv.Key),
		Value:    string(kv.Value),
		lease:    clientv3.LeaseID(kv.Lease),
		version:  kv.Version,
	}
	if kv.Lease != 0 {
		e.Lease = keyspace.Lease(e.lease)
	}
	of, _, own := keyspace.ParseEntry(l.weigh(&e, rest))
	if !own {
		of = e.lease
	}
	e.owner = of
	e.foreign, e.parked = !own, own && e.lease != 0 && e.lease != of
	e.Session = sessions[of]
	if l.Kind == gateKind || l.Kind == latchKind {
		l.shut(&e)
	}
	if own {
		e.Priority = l.priorityOf(e.Key)
	}
	switch said := e.Value == queue.ReadValue || e.Value == queue.WriteValue; {
	case l.Kind == rwlockKind && !said:
		e.Mode = queue.WriteValue
	case l.Kind == rwlockKind, l.Kind == prefixKind && said:
		e.Mode = e.Value
	}
	l.Entries = append(l.Entries, e)
}

// judge says who holds and who waits.
func (l *line) judge() {
	switch l.Kind {
	case semaphoreKind:
		l.judgeUnits()
		return
	case barrierKind:
		l.judgeParties()
		return
	}
	policy, ok := policies[l.Kind]
	if !ok {
		return
	}
	var entries []queue.Entry
	for _, e := range l.Entries {
		entries = append(entries, queue.Entry{Key: e.Key, Create: e.Revision, Value: []byte(e.Value)})
	}
	in := policy.Entered(entries)
	for i := range l.Entries {
		switch e := &l.Entries[i]; {
		case i >= in:
			e.State = stateWaits
		case e.parked:
			e.State = stateReleased
		default:
			e.State = stateHolds
		}
	}
}
