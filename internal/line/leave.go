package line

import (
	"context"
	"errors"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

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
	sent := a.unsure
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
		a.gave(keeper.ErrClosed)
	}
}

// persist deletes the entries, and tries again until it is known that they are gone, or the lease is. A refusal is
// told at once, and is no reason to give up: the lease is renewed, and the entries would stay as long as the Session.
func (a *All) persist(ctx context.Context) {
	for tries := 1; ; tries++ {
		err := a.sendLeave(ctx)
		switch {
		case err == nil, errors.Is(err, keeper.ErrLost):
			a.unpark()
			a.vacate()
			a.gave(err)
			return
		case leaseGone(err):
			a.epoch.Gone()
		case keeper.Final(err):
			err = keeper.Explain(a.keeper.Client, err, a.keeper.Namespace)
			a.keeper.Log.Debug("entries not deleted", "error", err)
			a.settle(err)
		}
		if !pause(ctx, a.epoch, tries) {
			if err = a.epoch.Err(); err == nil {
				err = keeper.ErrClosed
			}
			a.vacate()
			a.gave(err)
			return
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
	ctx, cancel := context.WithTimeout(ctx, a.keeper.RequestTimeout())
	defer cancel()
	for {
		then, err := a.outs(ctx)
		if err != nil {
			return err
		}
		then = append(then, a.alongOuts()...)
		var cmps []clientv3.Cmp
		if a.unsure { // an enqueue that is still on its way must fail from here on
			cmps = []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(a.epoch.Record()), "=", a.epoch.RecordRevision())}
			then = append(then, a.parts[0].line.writeRecord(a.epoch))
		}
		resp, err := a.keeper.Client.Txn(ctx).If(cmps...).Then(then...).
			Else(clientv3.OpGet(a.epoch.Record(), clientv3.WithKeysOnly())).Commit()
		if err != nil {
			return a.unanswered(err)
		}
		if resp.Succeeded {
			if a.unsure {
				a.epoch.RecordWritten(resp.Header.Revision)
			}
			return a.outcome(resp.Responses[:len(a.parts)])
		}
		if kvs := resp.Responses[0].GetResponseRange().Kvs; len(kvs) == 1 {
			a.epoch.RecordWritten(kvs[0].ModRevision)
		} else if err := a.parts[0].line.keepRecord(ctx, a.epoch); !errors.Is(err, errAgain) {
			return err
		}
	}
}

// outs are what becomes of each entry.
func (a *All) outs(ctx context.Context) ([]clientv3.Op, error) {
	var ops []clientv3.Op
	for _, q := range a.parts {
		p := q.place
		ours := p.stands()
		if a.unsure { // an enqueue may have got through that we do not know
			ours = []clientv3.Cmp{clientv3.Compare(clientv3.LeaseValue(p.key), "=", a.epoch.ID())}
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

// alongOuts delete what goes with the entries, as far as it is ours.
func (a *All) alongOuts() []clientv3.Op {
	a.mu.Lock()
	defer a.mu.Unlock()
	var ops []clientv3.Op
	for _, key := range a.along {
		ours := clientv3.Compare(clientv3.LeaseValue(key), "=", a.epoch.ID())
		ops = append(ops, clientv3.OpTxn([]clientv3.Cmp{ours}, []clientv3.Op{clientv3.OpDelete(key)}, nil))
	}
	return ops
}

// unanswered notes that a leave may have happened.
func (a *All) unanswered(err error) error {
	parked := false
	for _, q := range a.parts {
		q.place.left = q.place.left || keeper.Unknown(err)
		parked = parked || q.place.parking != 0
	}
	if parked && leaseGone(err) { // which of them?
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
