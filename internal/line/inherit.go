package line

import (
	"context"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/fence"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/queue"
)

// What an earlier session has left under a lease that ours goes on with (see keeper.Epoch.Inherited) has no handle. The first attempt in a line
// settles it: where the line has one holder at a time, it takes over the entry that is first of those, and with it the place in the line. All
// others are deleted: nobody could release them, and we would wait for ourselves.

// inherit settles what stands in the lines of r.a. It says whether one of these is r.a's now. What is another attempt's to take over, it leaves.
func (l *Line) inherit(ctx context.Context, r *request, x *answer) (taken bool, err error) {
	a := r.a
	for i := range a.spots {
		t, s := &l.m.tracks[i], &a.spots[i]
		keys := slices.DeleteFunc(a.epoch.Inherited(t.dir()), func(h keeper.Heirloom) bool {
			return l.table.isAnothers(t, h.Key, s)
		})
		if len(keys) == 0 {
			continue
		}
		keys = a.epoch.Claim(keys)
		adopts := r.old == nil && len(a.spots) == 1 && t.policy.Single() && a.epoch.Generation() <= keeper.MaxGeneration
		taken, err = l.settle(ctx, s, keys, adopts, x)
		if err != nil {
			a.epoch.Unclaim(keys)
			return false, err
		}
		if taken {
			x.inherited = a.epoch.Generation()
			l.stood(a, x.entries[0].Create)
		}
	}
	return taken, nil
}

// settle deletes keys that were claimed, but for the one of s, if that is to be adopted and stands.
func (l *Line) settle(ctx context.Context, s *spot, keys []keeper.Heirloom, adopts bool, x *answer) (taken bool, err error) {
	mine := int64(0) // create revision of the key that is adopted
	var deletes []clientv3.Op
	for _, h := range keys {
		if adopts && h.Key == s.key {
			mine = h.Create
			continue
		}
		same := clientv3.Compare(clientv3.CreateRevision(h.Key), "=", h.Create)
		deletes = append(deletes, clientv3.OpTxn([]clientv3.Cmp{same}, []clientv3.Op{clientv3.OpDelete(h.Key)}, nil))
	}
	for some := range slices.Chunk(deletes, 50) { // etcd allows 128 operations by default
		if _, err := l.keeper.KV().Txn(ctx).Then(some...).Commit(); err != nil {
			return false, err
		}
	}
	if mine == 0 {
		return false, nil
	}
	resp, err := l.keeper.KV().Get(ctx, s.key)
	if err != nil {
		return false, err
	}
	if len(resp.Kvs) == 0 || resp.Kvs[0].CreateRevision != mine || resp.Kvs[0].Lease != int64(s.lease) { // somebody has deleted it
		return false, nil
	}
	x.entries, x.seen = []queue.Entry{queue.EntryOf(resp.Kvs[0])}, make([]seen, 1)
	return true, nil
}

// inherited are the turns of an entry that was taken over: one, larger than all that its earlier sessions can have had.
func inherited(generation int) turns {
	return turns{next: ownTurns + generation, least: ownTurns + generation}
}

// ownTurns is how many turns an entry has in the session that has put it. The others are for those who take it over.
const ownTurns = fence.Turns - 1 - keeper.MaxGeneration
