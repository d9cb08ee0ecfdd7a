package line

import (
	"context"
	"errors"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
)

// park marks the entries that have to stay for a while.
func (a *All) park() {
	for _, q := range a.parts {
		if p := q.place; time.Now().Before(p.restUntil) {
			p.parking = newLease()
		}
	}
}

// leave takes the entries from their lines and deletes them, or parks those that have to stay.
func (a *All) leave(cause error) {
	sent := a.enqueue.Unknown()
	for _, q := range a.parts {
		q.line.mu.Lock()
		if h := q.hold; h != nil && h.ended == nil {
			h.end(cause)
			if cause != keeper.ErrNotHeld {
				h.lost = cause
			}
		}
		q.place.finish(cause)
		q.place.leaving = true
		q.line.forget(q.place)
		q.line.closeView()
		sent = sent || q.place.state != asked
		q.line.mu.Unlock()
	}
	a.mu.Lock()
	again := a.leaving
	a.leaving = true
	a.mu.Unlock()
	if again {
		return
	}
	if !sent {
		a.vacate()
		return
	}
	if !a.keeper.Go(a.persist) {
		a.gave(a.keeper.Closed())
	}
}

// persist deletes the entries, and tries again until it is known that they are gone, or the lease is. A refusal is
// told at once, and is no reason to give up: the lease is renewed, and the entries would stay as long as the Session.
func (a *All) persist(ctx context.Context) {
	known := func(err error) bool { return errors.Is(err, keeper.ErrLost) }
	err := etcd.Retry{Client: a.keeper.Client, Backoff: etcd.Prompt, Within: a.keeper.Patience, Done: a.epoch.Done(), Hopeless: known,
		Failed: func(err error) { a.leaveFailed(ctx, err) }}.Do(ctx, a.sendLeave)
	switch {
	case err == nil || known(err):
		a.unpark()
	case a.epoch.Err() != nil:
		err = a.epoch.Err()
	default:
		err = a.keeper.Closed()
	}
	a.vacate()
	a.gave(err)
}

// leaveFailed takes note of an error before the next attempt.
func (a *All) leaveFailed(ctx context.Context, err error) {
	switch {
	case etcd.LeaseGone(err):
		a.epoch.Gone()
	case etcd.Final(err) && a.keepParked(): // released all the same
		a.settle(nil)
		a.await(ctx)
	case etcd.Final(err):
		err = a.keeper.Explain(err, a.keeper.Namespace)
		a.keeper.Log.Debug("entries not deleted", "error", err)
		a.settle(err)
	}
}

// keepParked has the entries that were to be parked stay where they are for the rest of their minimum: etcd refuses the
// lease that they would be moved to, or to write at all. It says whether there are any.
func (a *All) keepParked() bool {
	any := false
	for _, q := range a.parts {
		if q.place.parking != 0 {
			q.place.parking, q.place.kept, any = 0, true, true
		}
	}
	return any
}

// await waits for the end of all minimums that are kept so.
func (a *All) await(ctx context.Context) {
	for _, q := range a.parts {
		if left := time.Until(q.place.restUntil); q.place.kept && left > 0 {
			t := time.NewTimer(left)
			select {
			case <-t.C:
			case <-a.epoch.Done():
			case <-ctx.Done():
			}
			t.Stop()
		}
	}
}

// gave is the end of leaving.
func (a *All) gave(err error) {
	a.mu.Lock()
	a.gone = &err
	a.mu.Unlock()
	a.settle(err)
}

// vacate gives back the slots, but for those of parked entries, and of strangers.
func (a *All) vacate() {
	for _, q := range a.parts {
		if q.place.parking == 0 && !q.place.taken {
			q.place.free()
		}
	}
}

func (a *All) unpark() {
	for _, q := range a.parts {
		if q.place.parking != 0 {
			a.keeper.Go(func(ctx context.Context) { q.line.unpark(ctx, q.place) })
		}
	}
}

// sendLeave deletes each entry that is still ours. It answers ErrLost if one was not.
func (a *All) sendLeave(ctx context.Context) error {
	then, err := a.outs(ctx)
	if err != nil {
		return err
	}
	then = append(then, a.alongOuts()...)
	done, _, err := a.enqueue.Undo(ctx, then...)
	if err != nil {
		return a.unanswered(err)
	}
	return a.outcome(done[:len(a.parts)])
}

// outs are what becomes of each entry.
func (a *All) outs(ctx context.Context) ([]clientv3.Op, error) {
	var ops []clientv3.Op
	for _, q := range a.parts {
		p := q.place
		ours := p.stands()
		if a.enqueue.Unknown() { // an enqueue may have got through that we do not know
			ours = []clientv3.Cmp{clientv3.Compare(clientv3.LeaseValue(p.key), "=", p.lease)}
		}
		out := clientv3.OpDelete(p.key)
		if p.parking != 0 {
			if err := q.line.grantOnce(ctx, p.parking, time.Until(p.restUntil)); err != nil {
				return nil, err
			}
			out = clientv3.OpPut(p.key, string(p.entry.Value), clientv3.WithLease(p.parking))
		}
		ops = append(ops, clientv3.OpTxn(ours, []clientv3.Op{out}, nil))
	}
	return ops, nil
}

// mostAlong is how many keys go with the entries: etcd takes 128 operations in a transaction. There are more only if that
// many could not be taken away before, and then they go with the lease.
const mostAlong = 32

// alongOuts delete what goes with the entries, as far as it is ours.
func (a *All) alongOuts() []clientv3.Op {
	a.mu.Lock()
	defer a.mu.Unlock()
	var ops []clientv3.Op
	for _, key := range a.along[max(len(a.along)-mostAlong, 0):] {
		ours := clientv3.Compare(clientv3.LeaseValue(key), "=", a.parts[0].place.lease)
		ops = append(ops, clientv3.OpTxn([]clientv3.Cmp{ours}, []clientv3.Op{clientv3.OpDelete(key)}, nil))
	}
	return ops
}

// unanswered notes that a leave may have happened.
func (a *All) unanswered(err error) error {
	parked := false
	for _, q := range a.parts {
		q.place.left = q.place.left || etcd.Unknown(err)
		parked = parked || q.place.parking != 0
	}
	if parked && etcd.LeaseGone(err) { // which of them?
		return errParkEnded
	}
	return err
}

// outcome reads which entries were deleted.
func (a *All) outcome(ops []*pb.ResponseOp) error {
	for i, q := range a.parts {
		if p := q.place; p.state != asked && !p.left && !ops[i].GetResponseTxn().Succeeded {
			return keeper.ErrLost
		}
	}
	return nil
}
