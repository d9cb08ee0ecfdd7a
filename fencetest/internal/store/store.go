// Package store is etcd's state as a machine without clocks, goroutines and I/O: revisions, transactions, leases, users. Requests go in
// as etcd's own messages, answers and events come out.
package store

import (
	"bytes"
	"slices"
	"sort"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

// Store is what etcd has agreed on. It is not safe for concurrent use.
type Store struct {
	revision  int64
	compacted int64
	keys      []*key // sorted by name; also those that are deleted, for their past
	byName    map[string]*key
	events    []Event // all there were, in order
	leases    map[int64]*Lease
	noSpace   bool
	auth      auth
}

// key is all versions that a key has had, in order.
type key struct {
	name     string
	versions []*version
}

// version is a key from one revision on.
type version struct {
	kv   *mvccpb.KeyValue
	gone bool // it was deleted at kv.ModRevision; kv has nothing else then
}

// Event is one change. Those of a revision follow each other.
type Event struct {
	Revision int64
	Event    *mvccpb.Event    // without PrevKv
	Prev     *mvccpb.KeyValue // as of the revision before
}

// New is the state of a cluster that is new: etcd begins with revision 1.
func New() *Store {
	return &Store{revision: 1, byName: map[string]*key{}, leases: map[int64]*Lease{}, auth: newAuth()}
}

// Revision is the present one, and Compacted the one below which nothing can be read.
func (s *Store) Revision() int64  { return s.revision }
func (s *Store) Compacted() int64 { return s.compacted }

// SetNoSpace raises or clears the alarm.
func (s *Store) SetNoSpace(on bool) { s.noSpace = on }
func (s *Store) NoSpace() bool      { return s.noSpace }

// at is the key as of a revision; nil if it was not there.
func (k *key) at(revision int64) *mvccpb.KeyValue {
	if k == nil {
		return nil
	}
	for i := len(k.versions) - 1; i >= 0; i-- {
		if v := k.versions[i]; v.kv.ModRevision <= revision {
			if v.gone {
				return nil
			}
			return v.kv
		}
	}
	return nil
}

// within are the keys of a range as etcd writes it: without an end it is one key, with the end "\x00" all from the key on.
func (s *Store) within(from, end []byte) []*key {
	switch {
	case len(end) == 0:
		if k := s.byName[string(from)]; k != nil {
			return []*key{k}
		}
		return nil
	case len(end) == 1 && end[0] == 0:
		return s.keys[s.search(string(from)):]
	case bytes.Compare(from, end) >= 0:
		return nil
	}
	return s.keys[s.search(string(from)):s.search(string(end))]
}

func (s *Store) search(name string) int {
	return sort.Search(len(s.keys), func(i int) bool { return s.keys[i].name >= name })
}

// Snapshot is a copy that shares nothing which changes.
func (s *Store) Snapshot() *Store {
	c := *s
	c.keys, c.byName, c.leases = make([]*key, len(s.keys)), make(map[string]*key, len(s.keys)), make(map[int64]*Lease, len(s.leases))
	for i, k := range s.keys {
		c.keys[i] = &key{k.name, slices.Clone(k.versions)}
		c.byName[k.name] = c.keys[i]
	}
	c.events = slices.Clone(s.events)
	for id, l := range s.leases {
		c.leases[id] = l.clone()
	}
	c.auth = s.auth.clone()
	return &c
}

// Events are those of a range of keys from a revision on, up to and with another.
func (s *Store) Events(from, upTo int64, in func(name []byte) bool) []Event {
	var found []Event
	i := sort.Search(len(s.events), func(i int) bool { return s.events[i].Revision >= from })
	for _, ev := range s.events[i:] {
		if ev.Revision > upTo {
			break
		}
		if in(ev.Event.Kv.Key) {
			found = append(found, ev)
		}
	}
	return found
}

// writing is one transaction that changes something: all of it has one revision.
type writing struct {
	s       *Store
	changed bool
}

func (w *writing) revision() int64 {
	if w.changed {
		return w.s.revision + 1
	}
	return w.s.revision
}

// commit makes it so.
func (w *writing) commit() { w.s.revision = w.revision() }

func (w *writing) put(name, value []byte, lease int64) {
	w.changed = true
	s, rev := w.s, w.revision()
	k := s.byName[string(name)]
	if k == nil {
		k = &key{name: string(name)}
		s.byName[k.name] = k
		s.keys = slices.Insert(s.keys, s.search(k.name), k)
	}
	prev := k.at(rev)
	kv := &mvccpb.KeyValue{Key: name, Value: value, CreateRevision: rev, ModRevision: rev, Version: 1, Lease: lease}
	if prev != nil {
		kv.CreateRevision, kv.Version = prev.CreateRevision, prev.Version+1
		s.detach(k.name, prev.Lease)
	}
	if l := s.leases[lease]; l != nil {
		l.keys[k.name] = true
	}
	k.versions = append(k.versions, &version{kv: kv})
	ev := Event{Revision: rev, Event: &mvccpb.Event{Type: mvccpb.Event_PUT, Kv: kv}}
	if kv.Version > 1 {
		ev.Prev = k.at(rev - 1)
	}
	s.events = append(s.events, ev)
}

// delete takes what stands in a range, and returns what that was.
func (w *writing) delete(from, end []byte) (prev []*mvccpb.KeyValue) {
	s := w.s
	now := w.revision()
	for _, k := range s.within(from, end) {
		if kv := k.at(now); kv != nil {
			prev = append(prev, kv)
		}
	}
	if len(prev) == 0 {
		return nil
	}
	w.changed = true
	for _, kv := range prev {
		gone := &mvccpb.KeyValue{Key: kv.Key, ModRevision: w.revision()}
		k := s.byName[string(kv.Key)]
		k.versions = append(k.versions, &version{kv: gone, gone: true})
		s.detach(k.name, kv.Lease)
		s.events = append(s.events, Event{w.revision(), &mvccpb.Event{Type: mvccpb.Event_DELETE, Kv: gone}, k.at(w.revision() - 1)})
	}
	return prev
}

func (s *Store) detach(name string, lease int64) {
	if l := s.leases[lease]; l != nil {
		delete(l.keys, name)
	}
}

// header of an answer. Members and terms are not the Store's.
func header(revision int64) *pb.ResponseHeader { return &pb.ResponseHeader{Revision: revision} }

// bare is kv without its value.
func bare(kv *mvccpb.KeyValue) *mvccpb.KeyValue {
	kv = proto.CloneOf(kv)
	kv.Value = nil
	return kv
}
