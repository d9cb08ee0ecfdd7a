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
	kvs    map[string]*mvccpb.KeyValue // nil before the list is known
}

// list takes everything there is.
func (s *standing) list(kvs []*mvccpb.KeyValue) {
	s.kvs = make(map[string]*mvccpb.KeyValue, len(kvs))
	for _, kv := range kvs {
		if !isTransfer(s.prefix, kv) {
			s.kvs[string(kv.Key)] = kv
		}
	}
}

// apply takes events in the order of their revisions, all of one revision together.
func (s *standing) apply(events []*mvccpb.Event) {
	for _, ev := range events {
		switch {
		case isTransfer(s.prefix, ev.Kv):
		case ev.Type == mvccpb.Event_DELETE:
			delete(s.kvs, string(ev.Kv.Key))
		default:
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

// isTransfer says whether a key names the next leader, rather than being a candidate's.
func isTransfer(prefix string, kv *mvccpb.KeyValue) bool {
	_, ok := keyspace.Transferred(prefix, string(kv.Key))
	return ok
}

func inOrder(kvs []*mvccpb.KeyValue) []*mvccpb.KeyValue {
	slices.SortFunc(kvs, before)
	return kvs
}

// before is the order of arrival; of two that one transaction created, the order of keys.
func before(a, b *mvccpb.KeyValue) int {
	return cmp.Or(cmp.Compare(a.CreateRevision, b.CreateRevision), slices.Compare(a.Key, b.Key))
}
