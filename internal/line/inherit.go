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

// inherit settles what stands in the lines of r.a. It says whether one of these is r.a's now.
func (l *Line) inherit(ctx context.Context, r *request, x *answer) (taken bool, err error) {
	a := r.a
	for i := range a.spots {
		dir := l.m.tracks[i].dir()
		keys := a.epoch.Inherited(dir)
		if len(keys) == 0 {
			continue
		}
		mine := a.spots[i].key
		taken = r.old == nil && len(a.spots) == 1 && l.m.tracks[i].policy.Single() && a.epoch.Generation() <= keeper.MaxGeneration && slices.Contains(keys, mine)
		if taken {
			keys = slices.DeleteFunc(keys, func(key string) bool { return key == mine })
		}
		for some := range slices.Chunk(keys, 100) { // etcd allows 128 by default
			var deletes []clientv3.Op
			for _, key := range some {
				deletes = append(deletes, clientv3.OpDelete(key))
			}
			if _, err := l.keeper.KV().Txn(ctx).Then(deletes...).Commit(); err != nil {
				return false, err
			}
		}
		if taken {
			resp, err := l.keeper.KV().Get(ctx, mine)
			if err != nil {
				return false, err
			}
			if taken = len(resp.Kvs) == 1 && resp.Kvs[0].Lease == int64(a.spots[i].lease); taken {
				e := queue.EntryOf(resp.Kvs[0])
				x.entries, x.seen, x.inherited = []queue.Entry{e}, make([]seen, 1), a.epoch.Generation()
				l.stood(a, e.Create)
			}
		}
		a.epoch.Settled(dir)
	}
	return taken, nil
}

// inherited are the turns of an entry that was taken over: one, larger than all that its earlier sessions can have had.
func inherited(generation int) turns {
	return turns{next: ownTurns + generation, least: ownTurns + generation}
}

// ownTurns is how many turns an entry has in the session that has put it. The others are for those who take it over.
const ownTurns = fence.Turns - 1 - keeper.MaxGeneration
