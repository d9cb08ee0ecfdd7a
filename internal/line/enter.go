package line

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

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
	brief := false // too many operations otherwise
	for tries := 1; ; tries++ {
		err := a.sendEnter(ctx, brief, a.keeper.Patience(tries-1))
		switch {
		case err == nil:
			return a.entered()
		case errors.Is(err, errBroken), errors.Is(err, errSlot):
			return errBroken
		case errors.Is(err, errAgain):
			continue
		case errors.Is(err, rpctypes.ErrTooManyOps) && !brief:
			brief = true
			continue
		case errors.Is(err, rpctypes.ErrTooManyOps):
			return fmt.Errorf("%d locks at once are more than etcd allows in one transaction (its --max-txn-ops, 128 by default): %w", len(a.parts), err)
		case leaseGone(err):
			epoch.Gone()
			return keeper.ErrRevoked
		}
		explained := keeper.Explain(a.keeper.Client, err, a.keeper.Namespace)
		if keeper.Final(err) && ctx.Err() == nil {
			return explained
		}
		if !pause(ctx, epoch, tries) {
			if ctx.Err() != nil {
				return keeper.Because(context.Cause(ctx), explained)
			}
			return epoch.Err()
		}
	}
}

// sendEnter sends the enqueue of all. In brief it does not ask about the lines.
func (a *All) sendEnter(ctx context.Context, brief bool, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	record := a.epoch.RecordRevision()
	cmps := []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(a.epoch.Record()), "=", record)}
	otherwise := []clientv3.Op{clientv3.OpGet(a.epoch.Record(), clientv3.WithKeysOnly())}
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
	resp, err := a.keeper.KV().Txn(ctx).If(cmps...).Then(then...).Else(otherwise...).Commit()
	if err != nil {
		a.unsure = a.unsure || keeper.Unknown(err) && !leaseGone(err)
		return err
	}
	if !resp.Succeeded {
		return a.refused(ctx, record, resp)
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

// refused finds out why. The answer shows the session's record and then each key.
func (a *All) refused(ctx context.Context, record int64, resp *clientv3.TxnResponse) error {
	var there []Entry
	for i, q := range a.parts {
		if kvs := resp.Responses[i+1].GetResponseRange().Kvs; len(kvs) == 1 {
			there = append(there, entryOf(kvs[0]))
			q.place.taken = !a.unsure
		}
	}
	kvs := resp.Responses[0].GetResponseRange().Kvs
	switch {
	case len(there) == len(a.parts) && a.unsure && a.ours(there):
		for i, q := range a.parts { // Who is ahead we do not know.
			q.place.entry, q.place.state = there[i], queued
		}
		return nil
	case len(there) > 0 && a.unsure: // what an earlier attempt has left, or a stranger's
		return errBroken
	case len(there) > 0:
		return errSlot
	case len(kvs) == 0:
		return a.parts[0].line.keepRecord(ctx, a.epoch)
	case kvs[0].ModRevision < record:
		return goneBack(a.epoch, record, kvs[0].ModRevision)
	}
	a.epoch.RecordWritten(kvs[0].ModRevision)
	return errAgain
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
