package line

import (
	"context"
	"errors"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
)

// leave deletes the entries of a, or parks those that have to stay: they are moved to leases of their own, which nobody renews, and keep their
// places. If this process lives on, it deletes them when the time has come; if not, or if the session is closed, those leases end a little
// later. It returns ErrLost if an entry was not there any more; one that an earlier leave without an answer may have deleted does not count.
func (l *Line) leave(ctx context.Context, a *attempt) error {
	err := l.leaveWith(ctx, a)
	if errors.Is(err, rpctypes.ErrPermissionDenied) && a.mark.Forget() { // that may be for the note's sake
		err = l.leaveWith(ctx, a)
	}
	return err
}

func (l *Line) leaveWith(ctx context.Context, a *attempt) error {
	l.mu.Lock()
	with := len(a.with) // others may add to these, and take away
	l.mu.Unlock()
	if s := &a.spots[0]; len(a.spots) == 1 && !a.write.Unknown() && !s.parks && with == 0 {
		var why []clientv3.Op
		if a.deleteUnknown {
			why = append(why, clientv3.OpGet(s.key, clientv3.WithKeysOnly()))
		}
		out := append([]clientv3.Op{clientv3.OpDelete(s.key)}, a.mark.Ends()...)
		resp, err := l.keeper.KV().Txn(ctx).If(a.stands(0)...).Then(out...).Else(why...).Commit()
		switch {
		case err != nil:
			return err
		case !resp.Succeeded && (!a.deleteUnknown || len(resp.Responses[0].GetResponseRange().Kvs) > 0):
			return keeper.ErrLost
		}
		return nil
	}
	outs, err := l.outs(ctx, a)
	if err != nil {
		return err
	}
	done, _, err := a.write.Undo(ctx, slices.Concat(outs, l.goneWith(a))...)
	if err != nil {
		return parkEnded(a, err)
	}
	return a.outcome(done[:len(a.spots)])
}

// outs are what becomes of each entry.
func (l *Line) outs(ctx context.Context, a *attempt) ([]clientv3.Op, error) {
	var ops []clientv3.Op
	for i := range a.spots {
		s := &a.spots[i]
		ours := a.stands(i)
		if a.write.Unknown() { // an enqueue may have got through that we do not know
			ours = []clientv3.Cmp{clientv3.Compare(clientv3.LeaseValue(s.key), "=", s.lease)}
		}
		out := clientv3.OpDelete(s.key)
		if s.parks {
			if s.parking == clientv3.NoLease {
				s.parking = newLease()
			}
			if err := l.grantOnce(ctx, s.parking, s.restUntil-l.keeper.Elapsed()); err != nil {
				return nil, err
			}
			out = clientv3.OpPut(s.key, string(s.entry.Value), clientv3.WithLease(s.parking))
		}
		outs := []clientv3.Op{out}
		if i == 0 {
			outs = append(outs, a.mark.Ends()...)
		}
		ops = append(ops, clientv3.OpTxn(ours, outs, nil))
	}
	return ops, nil
}

// mostWith is how many keys go with the entries: etcd takes 128 operations in a transaction. There are more only if that many could not be
// taken away before, and then they go with the lease.
const mostWith = 32

// goneWith deletes what goes with the entries, as far as it is ours.
func (l *Line) goneWith(a *attempt) []clientv3.Op {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ops []clientv3.Op
	for _, key := range a.with[max(len(a.with)-mostWith, 0):] {
		ours := clientv3.Compare(clientv3.LeaseValue(key), "=", a.spots[0].lease)
		ops = append(ops, clientv3.OpTxn([]clientv3.Cmp{ours}, []clientv3.Op{clientv3.OpDelete(key)}, nil))
	}
	return ops
}

var errParkEnded = errors.New("the lease for the rest of a minimum hold has ended too soon")

// parkEnded is err, unless that says that a lease is gone which was not the session's.
func parkEnded(a *attempt, err error) error {
	for i := range a.spots {
		if a.spots[i].parks && etcd.LeaseGone(err) {
			return errParkEnded
		}
	}
	return err
}

// outcome reads whether each entry was there.
func (a *attempt) outcome(ops []*pb.ResponseOp) error {
	for _, op := range ops {
		if a.stood && !a.deleteUnknown && !op.GetResponseTxn().Succeeded {
			return keeper.ErrLost
		}
	}
	return nil
}

// abandon gives back an attempt that the machine does not know any more: its entries may stand all the same, or an enqueue may be on its way.
func (l *Line) abandon(a *attempt) {
	l.keeper.Go(func(ctx context.Context) {
		over := func(err error) bool { return errors.Is(err, keeper.ErrLost) || etcd.LeaseGone(err) }
		err := etcd.Retry{Client: l.keeper.Client, Backoff: etcd.Prompt, Within: l.keeper.Patience, Done: a.epoch.Done(), Hopeless: over}.
			Do(ctx, func(ctx context.Context) error {
				err := l.leave(ctx, a)
				a.deleteUnknown = a.deleteUnknown || etcd.Unknown(err)
				return err
			})
		if err == nil || over(err) {
			for i := range a.spots {
				l.table.freeSlot(a, i)
			}
		}
	})
}

// unpark deletes a parked entry when its time has come. What it cannot delete ends with its lease.
func (l *Line) unpark(ctx context.Context, a *attempt, i int) {
	s := &a.spots[i]
	if !etcd.Sleep(ctx, s.restUntil-l.keeper.Elapsed()) {
		return
	}
	err := etcd.Retry{Client: l.keeper.Client, Backoff: etcd.Prompt, Within: l.keeper.Patience, Done: a.epoch.Done(), Hopeless: func(error) bool { return false }}.
		Do(ctx, func(ctx context.Context) error {
			parked := clientv3.Compare(clientv3.LeaseValue(s.key), "=", s.parking)
			_, err := l.keeper.KV().Txn(ctx).If(parked).Then(clientv3.OpDelete(s.key)).Commit()
			if err == nil {
				_, _ = l.keeper.Client.Revoke(ctx, s.parking) // it would end by itself
			}
			return err
		})
	if err != nil { // its lease ends it; the slot is nobody's with ours
		l.keeper.Log.Debug("entry not deleted after its minimum hold", "key", s.key, "error", err)
	}
	l.table.freeSlot(a, i)
}

// awaitFate waits for the end of an entry, or that of ctx and a moment more.
func awaitFate(ctx context.Context, fate <-chan error) error {
	var err error
	select {
	case err = <-fate:
	case <-ctx.Done():
		t := time.NewTimer(grace)
		defer t.Stop()
		select {
		case err = <-fate:
		case <-t.C:
			return unconfirmed(ctx)
		}
	}
	if errors.Is(err, keeper.ErrExpired) || errors.Is(err, keeper.ErrClosed) {
		return nil // it was released in time; that etcd never answered changes nothing for the holder
	}
	return err
}
