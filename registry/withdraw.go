package registry

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/ask"
	"github.com/fenceline/fenceline/internal/keeper"
)

// lastWord is the value by which the entry says that it leaves, if it stands under e and has not said so.
func (r *Registration) lastWord(e *keeper.Epoch) (value string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	in := r.want
	in.Status = Draining
	value = encode(in)
	return value, r.placed == e && r.value != value
}

// markOp writes that word, if the entry is still ours.
func (r *Registration) markOp(e *keeper.Epoch, value string) clientv3.Op {
	return clientv3.OpTxn([]clientv3.Cmp{r.ours(e)}, []clientv3.Op{clientv3.OpPut(r.key, value, clientv3.WithLease(e.ID()))}, nil)
}

// ours says that the entry is under the lease of e. A session registers a key once, so it is this Registration's.
func (r *Registration) ours(e *keeper.Epoch) clientv3.Cmp {
	return clientv3.Compare(clientv3.LeaseValue(r.key), "=", e.ID())
}

// withdraw takes the entry out, unless it has gone with its lease or will.
func (r *Registration) withdraw(ctx context.Context) {
	r.mu.Lock()
	epoch := r.epoch
	r.mu.Unlock()
	defer r.answer(nil)
	if epoch == nil || r.mod == 0 && !r.unsure {
		return
	}
	alive, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	epoch.OnLoss(r, func(cause error) { cancel(cause) })
	defer epoch.Forget(r)
	for alive.Err() == nil {
		err := ask.Until(alive, alive, r.keeper, r.key, func(try context.Context) error { return r.leave(try, epoch) })
		if err == nil || alive.Err() != nil {
			return
		}
		r.answer(err)
		r.keeper.Log.Debug("entry not deleted", "key", r.key, "error", err)
		ask.Sleep(alive, 2*time.Second)
	}
}

// answer tells Deregister how the first attempt ended.
func (r *Registration) answer(err error) {
	r.change(func() {
		if !r.out {
			r.out, r.refused = true, err
		}
	})
}

// leave marks the entry, once, and deletes it. If a put may be on its way, the session's record is written as well: then
// that fails.
func (r *Registration) leave(ctx context.Context, e *keeper.Epoch) error {
	client := r.keeper.Client
	if value, ok := r.lastWord(e); ok {
		if _, err := client.Do(ctx, r.markOp(e, value)); err != nil {
			return err
		}
		r.change(func() { r.value = value })
	}
	gone := clientv3.OpTxn([]clientv3.Cmp{r.ours(e)}, []clientv3.Op{clientv3.OpDelete(r.key)}, nil)
	if !r.unsure {
		_, err := client.Do(ctx, gone)
		return err
	}
	resp, err := client.Txn(ctx).If(ask.RecordOf(e)).Then(gone, ask.WriteRecord(r.keeper, e)).
		Else(clientv3.OpGet(e.Record(), clientv3.WithKeysOnly())).Commit()
	switch {
	case err != nil:
		return err
	case !resp.Succeeded:
		if err := ask.CaughtUp(ctx, r.keeper, e, (*clientv3.GetResponse)(resp.Responses[0].GetResponseRange())); err != nil {
			return err
		}
		return ask.Again
	}
	e.RecordWritten(resp.Header.Revision)
	return nil
}
