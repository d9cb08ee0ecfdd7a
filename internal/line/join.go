package line

import (
	"context"
	"errors"
	"fmt"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/internal/queue"
	"github.com/fenceline/fenceline/internal/since"
)

// ops look at a line: one operation each, and lookSum, which has a machine of one line, one more.
func (k look) ops(t *track, near int) []clientv3.Op {
	switch k {
	case lookNear:
		return []clientv3.Op{clientv3.OpGet(t.dir(), nearest(near)...)}
	case lookCount:
		return []clientv3.Op{clientv3.OpGet(t.prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())}
	case lookAll:
		return []clientv3.Op{clientv3.OpGet(t.prefix, clientv3.WithPrefix())}
	case lookSum:
		return []clientv3.Op{clientv3.OpGet(t.dir(), clientv3.WithPrefix(), clientv3.WithCountOnly()),
			clientv3.OpGet(t.dir()+keyspace.Large, clientv3.WithPrefix())}
	}
	return []clientv3.Op{clientv3.OpGet(t.prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(2),
		clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortDescend))}
}

// join sends the enqueue of r.a, in one transaction with the end of r.old.
func (l *Line) join(ctx context.Context, r *request, x *answer) error {
	if taken, err := l.inherit(ctx, r, x); taken || err != nil {
		return err
	}
	a, tracks := r.a, l.m.tracks
	var cmps []clientv3.Cmp
	var puts, looks, gets []clientv3.Op
	for i := range a.spots {
		s, t := &a.spots[i], &tracks[i]
		cmps = append(cmps, clientv3.Compare(clientv3.CreateRevision(s.key), "=", 0))
		puts = append(puts, clientv3.OpPut(s.key, t.policy.Value, clientv3.WithLease(s.lease)))
		gets = append(gets, clientv3.OpGet(s.key))
		if !a.brief {
			looks = append(looks, r.looks[i].ops(t, r.near)...)
		}
	}
	var terms queue.Terms
	if of := tracks[0].policy.Terms; of != nil {
		terms = of()
	}
	then := slices.Concat(terms.Then, puts, looks)
	switch {
	case r.try && len(puts) == 1:
		then = []clientv3.Op{l.ifFirst(puts[0])}
	case r.try:
		then = []clientv3.Op{l.ifFirstInAll(puts)}
	}
	fence := false
	if old := r.old; old != nil {
		cmps = append(cmps, old.stands(0)...)
		then = slices.Concat([]clientv3.Op{clientv3.OpDelete(old.spots[0].key)}, old.mark.Ends(), then)
		fence = old.write.Unknown()
	}
	resp, err := a.write.Commit(ctx, keeper.Attempt{If: append(cmps, terms.If...), Then: then, Else: append(terms.Else, gets...), Fence: fence})
	switch {
	case errors.Is(err, rpctypes.ErrPermissionDenied) && r.old != nil && r.old.mark.Forget(): // that may be for the note's sake
		return etcd.Again
	case errors.Is(err, rpctypes.ErrTooManyOps) && len(a.spots) > 1 && !a.brief:
		a.brief = true
		return etcd.Again
	case errors.Is(err, rpctypes.ErrTooManyOps) && len(a.spots) > 1:
		return fmt.Errorf("%d locks at once are more than etcd allows in one transaction (its --max-txn-ops, 128 by default): %w", len(a.spots), err)
	case err != nil:
		return err
	case !resp.Succeeded:
		return l.joinRefused(ctx, r, x, terms, resp)
	}
	x.revision = resp.Header.Revision
	x.seen = make([]seen, len(a.spots))
	if r.try {
		i, others := tried(resp.Responses[len(resp.Responses)-1].GetResponseTxn())
		if others != nil {
			x.taken, x.seen[0] = i, seenIn(others)
			return errOthers
		}
		for i := range x.seen {
			x.seen[i] = seen{known: true, count: 1}
		}
	} else {
		answers := resp.Responses[len(resp.Responses)-len(looks):]
		for i := range a.spots {
			if !a.brief {
				x.seen[i] = seenIn(answers[0].GetResponseRange())
				x.seen[i].look, answers = r.looks[i], answers[1:]
			}
		}
		if len(answers) > 0 { // see lookSum
			x.seen[0].entries = queue.EntriesOf(answers[0].GetResponseRange().Kvs)
		}
	}
	for i := range a.spots {
		s := &a.spots[i]
		x.entries = append(x.entries, queue.Entry{Key: s.key, Create: x.revision, Mod: x.revision, Lease: s.lease, Value: []byte(tracks[i].policy.Value)})
	}
	l.stood(a, x.revision)
	return nil
}

// stood notes that the entries of a were put at revision.
func (l *Line) stood(a *attempt, revision int64) {
	a.epoch.Saw(revision)
	l.mu.Lock()
	owner := ""
	if w := l.m.front(); w != nil {
		owner = since.OwnerOf(w.ctx)
	}
	l.mu.Unlock()
	s := &a.spots[0]
	since.Of(l.keeper).Stands(&a.mark, s.key, s.lease, revision, owner, func(r keeper.Request) { l.asked(a, r) })
}

// asked is told that somebody wants a back. It is not handed on any more: whoever gives it back gives it to etcd.
func (l *Line) asked(a *attempt, r keeper.Request) {
	l.mu.Lock()
	a.isAsked, a.exposed = true, true
	if a.asked != nil {
		close(a.asked)
	}
	l.mu.Unlock()
	for i := range l.m.tracks {
		l.keeper.Asked(l.m.tracks[i].ref.Kind, l.m.tracks[i].ref.Name, r)
	}
}

func seenIn(line *pb.RangeResponse) seen {
	return seen{known: true, count: line.Count, entries: queue.EntriesOf(line.Kvs)}
}

// joinRefused finds out why. The answer shows each key.
func (l *Line) joinRefused(ctx context.Context, r *request, x *answer, terms queue.Terms, resp *keeper.Attempted) error {
	a := r.a
	asked, keys := resp.Responses[:len(terms.Else)], resp.Responses[len(terms.Else):]
	x.foreign = make([]bool, len(a.spots))
	var there []queue.Entry
	for i, op := range keys {
		if kvs := op.GetResponseRange().Kvs; len(kvs) == 1 {
			x.foreign[i] = true
			there = append(there, queue.EntryOf(kvs[0]))
		}
	}
	if len(there) == len(a.spots) && a.write.Unknown() && l.areOurs(a, there) {
		// An earlier attempt got through without its answer: ours to adopt. Who is ahead we do not know.
		x.entries, x.seen = there, make([]seen, len(there))
		l.stood(a, there[0].Create)
		return nil
	}
	if len(there) > 0 {
		return fmt.Errorf("%w: %q", errSlot, there[0].Key)
	}
	if err := resp.Stale(ctx); err != nil {
		return err
	}
	if terms.Refused != nil {
		again, err := terms.Refused(asked)
		if err != nil {
			return refusal{err}
		}
		if again {
			return etcd.Again
		}
	}
	if r.old == nil {
		return etcd.Again
	}
	return keeper.ErrEntryGone // only old's guard can have failed
}

// areOurs says whether these are what an earlier request has put.
func (l *Line) areOurs(a *attempt, there []queue.Entry) bool {
	for i, e := range there {
		if e.Lease != a.spots[i].lease || e.Create != there[0].Create || e.Mod != e.Create || string(e.Value) != l.m.tracks[i].policy.Value {
			return false
		}
	}
	return true
}

// ifFirst is put, if nobody is in the line who would keep us from entering. Else it shows who is there: a few of them, in no order, since
// putting a long line in order would hold up etcd.
func (l *Line) ifFirst(put clientv3.Op) clientv3.Op {
	t := &l.m.tracks[0]
	empty := clientv3.Compare(clientv3.CreateRevision(t.prefix).WithPrefix(), "=", 0)
	otherwise := []clientv3.Op{clientv3.OpGet(t.prefix, clientv3.WithPrefix(), clientv3.WithLimit(shortLine))}
	if t.policy.Shares != nil { // all of them are readers
		same := clientv3.Compare(clientv3.Value(t.prefix).WithPrefix(), "=", t.policy.Value)
		otherwise = []clientv3.Op{clientv3.OpTxn([]clientv3.Cmp{same}, []clientv3.Op{put}, otherwise)}
	}
	return clientv3.OpTxn([]clientv3.Cmp{empty}, []clientv3.Op{put}, otherwise)
}

// ifFirstInAll is puts, if nobody is in any of the lines: whoever wants several shares none of them. Else it shows one of each line.
func (l *Line) ifFirstInAll(puts []clientv3.Op) clientv3.Op {
	var empty []clientv3.Cmp
	var otherwise []clientv3.Op
	for i := range l.m.tracks {
		prefix := l.m.tracks[i].prefix
		empty = append(empty, clientv3.Compare(clientv3.CreateRevision(prefix).WithPrefix(), "=", 0))
		otherwise = append(otherwise, clientv3.OpGet(prefix, clientv3.WithPrefix(), clientv3.WithLimit(1)))
	}
	return clientv3.OpTxn(empty, puts, otherwise)
}

// tried says who was there in which line, if ifFirst or ifFirstInAll has not written; nil: it has.
func tried(resp *pb.TxnResponse) (i int, others *pb.RangeResponse) {
	for !resp.Succeeded {
		inner := resp.Responses[0].GetResponseTxn()
		if inner == nil {
			for i < len(resp.Responses)-1 && resp.Responses[i].GetResponseRange().Count == 0 {
				i++
			}
			return i, resp.Responses[i].GetResponseRange()
		}
		resp = inner
	}
	return 0, nil
}
