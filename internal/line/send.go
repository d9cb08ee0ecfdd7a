package line

import (
	"context"
	"errors"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fenceline/fenceline/internal/chance"
	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/queue"
)

// ask sends a request and waits for its answer, within a bound. It reads of an attempt only what does not change while one is under way.
func (l *Line) ask(r *request) *answer {
	x := &answer{}
	if r.kind == askLease {
		l.askForLease(r.ctx, x)
	} else {
		late := time.AfterFunc(l.keeper.Patience(r.failed), r.stop) // a deadline would be sent along, and cost both sides some 10 µs
		x.err = l.askOf(r.ctx, r, x)
		if !late.Stop() && (errors.Is(x.err, context.Canceled) || status.Code(x.err) == codes.Canceled) {
			x.err = context.DeadlineExceeded
		}
	}
	if r.kind == askJoin || r.kind == askLeave {
		x.unknown = r.a.write.Unknown()
	}
	if x.err != nil {
		x.explained = l.keeper.Explain(x.err, l.keys())
		l.keeper.Log.Debug("request failed", "what", r.kind, "line", l.m.tracks[0].prefix, "error", x.explained)
	}
	return x
}

// keys is what a refusal is about.
func (l *Line) keys() string {
	if l.m.private {
		return l.keeper.Namespace
	}
	return l.m.tracks[0].prefix
}

func (l *Line) askOf(ctx context.Context, r *request, x *answer) (err error) {
	switch r.kind {
	case askJoin:
		err = etcd.Again
		for errors.Is(err, etcd.Again) && ctx.Err() == nil {
			err = l.join(ctx, r, x)
		}
	case askConfirm:
		err = l.confirm(ctx, r, x)
	case askSurvey:
		err = l.survey(ctx, x)
	case askDeath:
		x.died, err = l.hasDied(ctx, l.m.tracks[r.i].dir(), r.departed)
	case askRenewal:
		err = r.a.epoch.Renew(ctx)
	case askRewrite:
		x.mod, err = l.overwrite(ctx, r)
	case askLeave:
		if err = l.leave(ctx, r.a); etcd.Unknown(err) {
			x.deleteUnknown = true
		}
	}
	return err
}

// leaseAtOnce takes a lease if there is one with room.
func (l *Line) leaseAtOnce() *answer {
	e := l.keeper.Current()
	if e == nil {
		return nil
	}
	x := &answer{epoch: e}
	for range l.m.tracks {
		lease, ok := e.TryTake()
		if !ok {
			for _, lease := range x.leases {
				e.Give(lease)
			}
			return nil
		}
		x.leases = append(x.leases, lease)
	}
	return x
}

// askForLease waits for a lease with room.
func (l *Line) askForLease(ctx context.Context, x *answer) {
	e, err := l.keeper.Live(ctx)
	if e == nil {
		if ctx.Err() == nil {
			x.err = err
		}
		return
	}
	x.epoch = e
	for range l.m.tracks {
		x.leases = append(x.leases, e.Take(ctx))
	}
}

// guard is "this very entry still stands": deleting and creating it again changes the one, overwriting the other. With mode it holds only for a
// reader, or only for a writer: a downgrade ends the one.
func (s *spot) guard(mode bool) []clientv3.Cmp {
	cmps := []clientv3.Cmp{
		clientv3.Compare(clientv3.CreateRevision(s.key), "=", s.entry.Create),
		clientv3.Compare(clientv3.LeaseValue(s.key), "=", s.lease),
	}
	if mode {
		cmps = append(cmps, clientv3.Compare(clientv3.Value(s.key), "=", string(s.entry.Value)))
	}
	return cmps
}

// untouched says the same in one comparison, of an entry that we know to the last change: each costs etcd some 10 µs.
func (s *spot) untouched() clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(s.key), "=", s.entry.Mod)
}

// stands says the same of any entry of a.
func (a *attempt) stands(i int) []clientv3.Cmp {
	if a.rewritten { // which of its values it has, we may not know
		return a.spots[i].guard(false)
	}
	return []clientv3.Cmp{a.spots[i].untouched()}
}

// leases are those of the entries.
func (a *attempt) leases() []clientv3.LeaseID {
	var ids []clientv3.LeaseID
	for i := range a.spots {
		ids = append(ids, a.spots[i].lease)
	}
	return ids
}

// confirm asks whether the entry stands in the line, and who has to leave before it. The entries up to its own revision say both; the last two
// of them, if the policy needs no more. First it asks, where that is all there is to know, whether our entry and the one ahead stand as they
// did: that costs etcd the same whoever else is in the line.
func (l *Line) confirm(ctx context.Context, r *request, x *answer) error {
	a, t := r.a, &l.m.tracks[r.i]
	if r.nearest {
		cmps := append(a.stands(r.i), clientv3.Compare(clientv3.ModRevision(r.ahead.Key), "=", r.ahead.Mod))
		read := clientv3.OpGet(a.spots[r.i].key, clientv3.WithKeysOnly()) // a transaction that reads nothing is answered by one member
		resp, err := l.keeper.KV().Txn(ctx).If(cmps...).Then(read).Else(read).Commit()
		if err != nil || resp.Succeeded {
			x.still = err == nil
			return err
		}
	}
	opts := []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithMaxCreateRev(a.spots[r.i].entry.Create)}
	if !t.policy.Values {
		opts = append(opts, clientv3.WithKeysOnly(), clientv3.WithLimit(2), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortDescend))
	}
	if r.near > 0 {
		return l.confirmNear(ctx, r, x)
	}
	at := r.revision
	if r.quorum {
		at = 0
	}
	return x.read(l.keeper.KV().ReadAt(ctx, at, t.prefix, opts...))
}

// nearest are the newest of a range: an entry, and so many ahead of it.
func nearest(n int) []clientv3.OpOption {
	return []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithLimit(int64(n + 1)), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortDescend)}
}

// confirmNear looks at the nearest of those ahead, and at what stands beside the line.
func (l *Line) confirmNear(ctx context.Context, r *request, x *answer) error {
	t := &l.m.tracks[r.i]
	ops := []clientv3.Op{clientv3.OpGet(t.dir(), append(nearest(r.near), clientv3.WithMaxCreateRev(r.a.spots[r.i].entry.Create))...)}
	if t.policy.Beside != "" {
		ops = append(ops, clientv3.OpGet(t.policy.Beside))
	}
	resp, err := l.keeper.KV().Txn(ctx).Then(ops...).Commit()
	if err == nil {
		x.revision = resp.Header.Revision
		for _, op := range resp.Responses {
			x.entries = append(x.entries, queue.EntriesOf(op.GetResponseRange().Kvs)...)
		}
	}
	return err
}

// survey asks the quorum who stands behind our entry.
func (l *Line) survey(ctx context.Context, x *answer) error {
	t := &l.m.tracks[0]
	opts := []clientv3.OpOption{clientv3.WithPrefix()}
	if !t.policy.Values { // ours, and the next one if there is any
		opts = append(opts, clientv3.WithKeysOnly(), clientv3.WithLimit(2), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
	}
	return x.read(l.keeper.KV().Get(ctx, t.prefix, opts...))
}

func (x *answer) read(resp *clientv3.GetResponse, err error) error {
	if err == nil {
		x.revision, x.entries = resp.Header.Revision, queue.EntriesOf(resp.Kvs)
	}
	return err
}

// overwrite changes the value of an entry, if it still stands, and returns its new mod revision. r.mod is the last one that is known. Each
// attempt compares it, so that of several that are on their way one at most gets through, and none after a later change.
func (l *Line) overwrite(ctx context.Context, r *request) (int64, error) {
	s, mod, value := &r.a.spots[0], r.mod, r.edit.value
	for {
		resp, err := l.keeper.KV().Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(s.key), "=", mod)).
			Then(clientv3.OpPut(s.key, value, clientv3.WithLease(s.lease))).
			Else(clientv3.OpGet(s.key)).Commit()
		if err != nil {
			return 0, err
		}
		if resp.Succeeded {
			return resp.Header.Revision, nil
		}
		kvs := resp.Responses[0].GetResponseRange().Kvs
		if len(kvs) == 0 || kvs[0].CreateRevision != s.entry.Create || clientv3.LeaseID(kvs[0].Lease) != s.lease {
			return 0, keeper.ErrEntryGone
		}
		if string(kvs[0].Value) == value {
			return kvs[0].ModRevision, nil // an earlier attempt
		}
		mod = kvs[0].ModRevision // an earlier change, of which we have not heard
	}
}

func notConfirmed(err error) error {
	return fmt.Errorf("an earlier attempt may have got through: %w", err)
}

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
