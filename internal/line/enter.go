package line

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
)

// enter puts an entry into every line, in one transaction.
func (a *All) enter(members []Member) error {
	ctx := a.waiting
	epoch, err := a.keeper.Live(ctx)
	if err != nil {
		return err
	}
	a.epoch = epoch
	for _, m := range members {
		l := m.newLine()
		l.lent, l.broken = true, func() { a.abort(errBroken) }
		l.beCareful(m.Options)
		a.parts = append(a.parts, &part{Member: m, line: l, place: l.newPlace(epoch, epoch.Take(ctx))})
	}
	a.enqueue.Epoch = epoch
	brief := false // too many operations otherwise
	hopeless := func(err error) bool {
		return errors.Is(err, errBroken) || errors.Is(err, errSlot) || etcd.LeaseGone(err) || etcd.Final(err)
	}
	err = etcd.Retry{Client: a.keeper.Client, Backoff: etcd.Prompt, Within: a.keeper.Patience, Done: epoch.Done(), Hopeless: hopeless}.
		Do(ctx, func(ctx context.Context) error {
			err := a.sendEnter(ctx, brief)
			if errors.Is(err, rpctypes.ErrTooManyOps) && !brief {
				brief = true
				return etcd.Again
			}
			return err
		})
	explained := a.keeper.Explain(err, a.keeper.Namespace)
	switch {
	case err == nil:
		return a.entered()
	case errors.Is(err, errBroken), errors.Is(err, errSlot):
		return errBroken
	case errors.Is(err, rpctypes.ErrTooManyOps):
		return fmt.Errorf("%d locks at once are more than etcd allows in one transaction (its --max-txn-ops, 128 by default): %w", len(a.parts), err)
	case etcd.LeaseGone(err):
		epoch.Gone()
		return keeper.ErrRevoked
	case ctx.Err() != nil:
		return keeper.Because(context.Cause(ctx), explained)
	case etcd.Final(err):
		return explained
	}
	return epoch.Err()
}

// sendEnter sends the enqueue of all. In brief it does not ask about the lines.
func (a *All) sendEnter(ctx context.Context, brief bool) error {
	var cmps []clientv3.Cmp
	var otherwise []clientv3.Op
	var puts, looks []clientv3.Op
	for _, q := range a.parts {
		cmps = append(cmps, clientv3.Compare(clientv3.CreateRevision(q.place.key), "=", 0))
		puts = append(puts, clientv3.OpPut(q.place.key, q.Rule.Value, clientv3.WithLease(q.place.lease)))
		looks = append(looks, q.line.look())
		otherwise = append(otherwise, clientv3.OpGet(q.place.key))
	}
	then := puts
	if !brief {
		then = append(then, looks...)
	}
	resp, err := a.enqueue.Commit(ctx, keeper.Attempt{If: cmps, Then: then, Else: otherwise})
	if err != nil {
		return err
	}
	if !resp.Succeeded {
		return a.refused(ctx, resp)
	}
	for i, q := range a.parts {
		q.place.entry = Entry{Key: q.place.key, Create: resp.Header.Revision, Mod: resp.Header.Revision, Lease: q.place.lease, Value: []byte(q.Rule.Value)}
		q.place.state = queued
		if !brief && q.line.looked(q.place, resp.Responses[len(puts)+i].GetResponseRange()) {
			q.place.state = first
		}
	}
	return nil
}

// refused finds out why. The answer shows each key.
func (a *All) refused(ctx context.Context, resp *keeper.Attempted) error {
	var there []Entry
	for i, q := range a.parts {
		if kvs := resp.Responses[i].GetResponseRange().Kvs; len(kvs) == 1 {
			there = append(there, entryOf(kvs[0]))
			q.place.taken = !a.enqueue.Unknown()
		}
	}
	switch {
	case len(there) == len(a.parts) && a.enqueue.Unknown() && a.ours(there):
		for i, q := range a.parts { // Who is ahead we do not know.
			q.place.entry, q.place.state = there[i], queued
		}
		return nil
	case len(there) > 0 && a.enqueue.Unknown(): // what an earlier attempt has left, or a stranger's
		return errBroken
	case len(there) > 0:
		return errSlot
	}
	if err := resp.Stale(ctx); err != nil {
		return err
	}
	return etcd.Again
}

// ours says whether these are what an earlier attempt of ours has put.
func (a *All) ours(there []Entry) bool {
	for i, e := range there {
		if e.Lease != a.parts[i].place.lease || e.Create != there[0].Create || e.Mod != e.Create || string(e.Value) != a.parts[i].Rule.Value {
			return false
		}
	}
	return true
}

// entered hands each line its entry, unless there are too many before it.
func (a *All) entered() error {
	for _, q := range a.parts {
		if n := q.MaxWaiters; n > 0 && q.place.waiting >= n && q.place.state == queued {
			return &MemberError{q.Ref, fullError(q.place.waiting, n)}
		}
	}
	for _, q := range a.parts {
		q.wait = &waiter{opts: q.Options, ctx: a.waiting}
		q.line.stand(q.wait) // before the entry: if that is lost, there is somebody to tell
		q.line.mu.Lock()
		q.line.occupy(q.place)
		q.line.joined(q.place, q.place.state == first)
		q.line.proceed()
		q.line.mu.Unlock()
	}
	return nil
}
