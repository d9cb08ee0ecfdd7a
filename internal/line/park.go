package line

import (
	"context"
	"errors"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/chance"
	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
)

// park leaves an entry that was released too soon to itself: it is moved to a lease of its own, which nobody renews,
// and keeps its place in the line. If this process lives on, it deletes the entry when the time has come; if not, or
// if the Session is closed, the lease ends a little later.
func (l *Line) park(ctx context.Context) error {
	p := l.place
	p.leaving = true
	mod, value := p.entry.Mod, string(p.entry.Value)
	if p.parking == 0 {
		p.parking = newLease()
	}
	err := l.request(ctx, func(ctx context.Context) error {
		if p.enqueue.Unknown() { // what is still on its way must fail when the entry is gone
			if _, _, err := p.enqueue.Undo(ctx); err != nil {
				return err
			}
		}
		if err := l.grantOnce(ctx, p.parking, time.Until(p.restUntil)); err != nil {
			return err
		}
		_, err := l.overwrite(ctx, p, mod, value, p.parking)
		if etcd.LeaseGone(err) { // not the Session's
			err = errParkEnded
		}
		return err
	})
	switch {
	case l.place != p:
		return nil
	case errors.Is(err, keeper.ErrLost):
		l.lose(p, err)
		return nil
	case err != nil && etcd.Final(err): // no space, say: then it stays where it is, and is deleted when the time has come
		p.parking, p.kept, p.leaving = 0, true, false
		p.settle(nil)
		return nil
	case err != nil:
		return err
	}
	p.settle(nil)
	l.forget(p)
	l.keeper.Go(func(ctx context.Context) { l.unpark(ctx, p) })
	return nil
}

var errParkEnded = errors.New("the lease for the rest of a minimum hold has ended too soon")

func newLease() clientv3.LeaseID { return clientv3.LeaseID(chance.N(1<<62) + 1) }

// grantOnce takes a lease of d at least. The same request may be sent again.
func (l *Line) grantOnce(ctx context.Context, id clientv3.LeaseID, d time.Duration) error {
	seconds := max(int64((d+time.Second-1)/time.Second), 1)
	lease := pb.NewLeaseClient(l.keeper.Client.ActiveConnection())
	_, err := lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: int64(id), TTL: seconds})
	if err = rpctypes.Error(err); errors.Is(err, rpctypes.ErrLeaseExist) {
		return nil
	}
	return err
}

// overwrite changes value and lease of p's entry, if it still stands, and answers its new mod revision. mod is the last
// one that is known. Each attempt compares it, so that of several that are on their way one at most gets through, and
// none after a later change.
func (l *Line) overwrite(ctx context.Context, p *place, mod int64, value string, lease clientv3.LeaseID) (int64, error) {
	for {
		resp, err := l.keeper.KV().Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(p.key), "=", mod)).
			Then(clientv3.OpPut(p.key, value, clientv3.WithLease(lease))).
			Else(clientv3.OpGet(p.key)).Commit()
		if err != nil {
			return 0, err
		}
		if resp.Succeeded {
			return resp.Header.Revision, nil
		}
		kvs := resp.Responses[0].GetResponseRange().Kvs
		if len(kvs) == 0 || kvs[0].CreateRevision != p.entry.Create {
			return 0, keeper.ErrEntryGone
		}
		switch clientv3.LeaseID(kvs[0].Lease) {
		case lease:
			if string(kvs[0].Value) == value {
				return kvs[0].ModRevision, nil // an earlier attempt
			}
		case p.lease:
		default:
			return 0, keeper.ErrEntryGone
		}
		mod = kvs[0].ModRevision // an earlier change, of which we have not heard
	}
}

// unpark deletes a parked entry when its time has come. What it cannot delete ends with its lease.
func (l *Line) unpark(ctx context.Context, p *place) {
	if !etcd.Sleep(ctx, time.Until(p.restUntil)) {
		return
	}
	err := etcd.Retry{Client: l.keeper.Client, Backoff: etcd.Prompt, Within: l.keeper.Patience, Done: p.epoch.Done(), Hopeless: func(error) bool { return false }}.
		Do(ctx, func(ctx context.Context) error {
			parked := clientv3.Compare(clientv3.LeaseValue(p.key), "=", p.parking)
			_, err := l.keeper.KV().Txn(ctx).If(parked).Then(clientv3.OpDelete(p.key)).Commit()
			if err == nil {
				_, _ = l.keeper.Client.Revoke(ctx, p.parking) // it would end by itself
			}
			return err
		})
	if err != nil { // its lease ends it; the slot is nobody's with ours
		l.keeper.Log.Debug("entry not deleted after its minimum hold", "key", p.key, "error", err)
	}
	p.free()
}
