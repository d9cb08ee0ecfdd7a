package election

import (
	"cmp"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/fenceline/fenceline/internal/keyspace"
)

// standing is who stands in an election as of a revision: a list, kept up by a watch that was there before the list
// was read.
//
// The leader is the one with the smallest create revision. One who comes has a larger one than all who ever stood, so
// that as long as revisions only grow, the leader's does, over gaps without a leader too.
type standing struct {
	prefix string                      // of the election
	rev    int64                       // every change up to here is in
	kvs    map[string]*mvccpb.KeyValue // nil before the list is known
	early  []*mvccpb.Event             // that came before the list
}

// list takes everything there is as of rev, which must not be older than the watch.
func (s *standing) list(rev int64, kvs []*mvccpb.KeyValue) {
	s.rev, s.kvs = rev, make(map[string]*mvccpb.KeyValue, len(kvs))
	for _, kv := range kvs {
		if !isTransfer(s.prefix, kv) {
			s.kvs[string(kv.Key)] = kv
		}
	}
	early := s.early
	s.early = nil
	s.apply(early)
}

// apply takes events in the order of their revisions, all of one revision together. Before the list is known they
// prove nothing, the first to be heard of need not be the first in line; those that the list knows are dropped.
func (s *standing) apply(events []*mvccpb.Event) {
	if s.kvs == nil {
		s.early = append(s.early, events...)
		return
	}
	known := s.rev
	for _, ev := range events {
		if ev.Kv.ModRevision <= known {
			continue
		}
		s.rev = max(s.rev, ev.Kv.ModRevision)
		if isTransfer(s.prefix, ev.Kv) {
			continue
		}
		if ev.Type == mvccpb.Event_DELETE {
			delete(s.kvs, string(ev.Kv.Key))
		} else {
			s.kvs[string(ev.Kv.Key)] = ev.Kv
		}
	}
}

// leader answers false before the list is known. The zero Leader says that there is none.
func (s *standing) leader() (Leader, bool) {
	var first *mvccpb.KeyValue
	for _, kv := range s.kvs {
		if first == nil || before(kv, first) < 0 {
			first = kv
		}
	}
	if first == nil {
		return Leader{}, s.kvs != nil
	}
	return leaderOf(first), true
}

// missed says whether head, the first in line by a read as of rev, is news: the watch should have told.
func (s *standing) missed(rev int64, head []*mvccpb.KeyValue) bool {
	known, ok := s.leader()
	if !ok || rev < s.rev { // the read comes from a member that is behind
		return false
	}
	var read Leader
	if kv := first(s.prefix, head); kv != nil {
		read = leaderOf(kv)
	}
	return read != known
}

// isTransfer says whether a key names the next leader, rather than being a candidate's.
func isTransfer(prefix string, kv *mvccpb.KeyValue) bool {
	_, ok := keyspace.Transferred(prefix, string(kv.Key))
	return ok
}

// first is the leader's entry, of some that are the first in line; nil if there is none among them.
func first(prefix string, kvs []*mvccpb.KeyValue) *mvccpb.KeyValue {
	for _, kv := range kvs {
		if !isTransfer(prefix, kv) {
			return kv
		}
	}
	return nil
}

func inOrder(kvs []*mvccpb.KeyValue) []*mvccpb.KeyValue {
	slices.SortFunc(kvs, before)
	return kvs
}

// before is the order of arrival; of two that one transaction created, the order of keys.
func before(a, b *mvccpb.KeyValue) int {
	return cmp.Or(cmp.Compare(a.CreateRevision, b.CreateRevision), slices.Compare(a.Key, b.Key))
}
