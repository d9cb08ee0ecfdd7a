package barrier

import (
	"cmp"
	"context"
	"slices"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/keyspace"
)

// place is where a barrier stands in etcd.
type place struct {
	keeper *keeper.Keeper
	prefix string
	record string // key of the record, without a lease
	in     string // prefix of the parties' entries
}

func newPlace(k *keeper.Keeper, name string) *place {
	prefix := keyspace.Line(k.Namespace, "barrier", name)
	return &place{k, prefix, prefix + "round", prefix + "in/"}
}

// look reads everything, at one revision.
func (at *place) look() clientv3.Op { return clientv3.OpGet(at.prefix, clientv3.WithPrefix()) }

func (at *place) snapshot(kvs []*mvccpb.KeyValue, revision int64) (snapshot, error) {
	s := snapshot{rev: revision}
	slices.SortFunc(kvs, func(a, b *mvccpb.KeyValue) int { return cmp.Compare(a.CreateRevision, b.CreateRevision) })
	for _, kv := range kvs {
		if err := s.take(at, kv); err != nil {
			return s, err
		}
	}
	return s, nil
}

// seen is the snapshot that a transaction has taken.
func (at *place) seen(op *pb.ResponseOp, revision int64) (snapshot, error) {
	return at.snapshot(op.GetResponseRange().Kvs, revision)
}

// readAt is a snapshot as of revision or later.
func (at *place) readAt(ctx context.Context, revision int64) (snapshot, error) {
	resp, err := at.keeper.KV().ReadAt(ctx, revision, at.prefix, clientv3.WithPrefix())
	if err != nil {
		return snapshot{}, err
	}
	return at.snapshot(resp.Kvs, resp.Header.Revision)
}

// publish writes next after s, if by still stand and nobody else has written. Either way it looks again.
func (at *place) publish(ctx context.Context, s snapshot, next record, by []entry) (snapshot, error) {
	cmps, then := at.publication(s, next, by)
	resp, err := at.keeper.KV().Txn(ctx).If(cmps...).Then(then, at.look()).Else(at.look()).Commit()
	if err != nil {
		return snapshot{}, err
	}
	return at.seen(resp.Responses[len(resp.Responses)-1], resp.Header.Revision)
}

// maxCmps is how many entries a publication compares. etcd allows 128 comparisons and operations in a transaction
// (--max-txn-ops), of which nested ones take their share.
const maxCmps = 100

// publication writes next if by stand; the comparison is that nobody else has written since s. Of more entries than
// etcd can compare it trusts s for the first: who withdraws from such a round writes the record, so that only a death
// in between can go unnoticed, and that one was in when all others were.
func (at *place) publication(s snapshot, next record, by []entry) ([]clientv3.Cmp, clientv3.Op) {
	by = by[max(len(by)-maxCmps, 0):]
	cmps := make([]clientv3.Cmp, len(by))
	for i, e := range by {
		cmps[i] = clientv3.Compare(clientv3.CreateRevision(e.key), "=", e.create)
	}
	put := clientv3.OpPut(at.record, next.encode())
	return []clientv3.Cmp{at.unwritten(s)}, clientv3.OpTxn(cmps, []clientv3.Op{put}, nil)
}

// unwritten says that the record is what it was in s.
func (at *place) unwritten(s snapshot) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(at.record), "=", s.record.mod)
}

// slots are the keys that parties of a Session use. Key names are used again, lowest slot first: deleted keys stay in
// etcd's index until a compaction, and slow every range over the prefix.
type slots struct {
	mu    sync.Mutex
	taken map[string]bool
}

func slotsOf(k *keeper.Keeper) *slots {
	type key struct{}
	return k.Table(key{}, func() any { return &slots{taken: map[string]bool{}} }).(*slots)
}

// take is the lowest key that nobody uses. It is its taker's until the entry is known to be gone, so an entry there is
// the taker's whatever became of the answer.
func (t *slots) take(prefix string, lease clientv3.LeaseID) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	for slot := 0; ; slot++ {
		if key := keyspace.Entry(prefix, lease, slot); !t.taken[key] {
			t.taken[key] = true
			return key
		}
	}
}

func (t *slots) free(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.taken, key)
}
