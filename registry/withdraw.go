package registry

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
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
func (r *Registration) markOp(value string) clientv3.Op {
	return clientv3.OpTxn([]clientv3.Cmp{r.ours()}, []clientv3.Op{clientv3.OpPut(r.key, value, clientv3.WithLease(r.hangsOn()))}, nil)
}

// ours says that the entry is under our lease. A session registers a key once, so it is this Registration's.
func (r *Registration) ours() clientv3.Cmp {
	return clientv3.Compare(clientv3.LeaseValue(r.key), "=", r.hangsOn())
}

func (r *Registration) hangsOn() clientv3.LeaseID {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lease
}

// withdraw takes the entry out, unless it has gone with its lease or will.
func (r *Registration) withdraw(ctx context.Context) {
	r.mu.Lock()
	epoch, since := r.epoch, r.began
	r.mu.Unlock()
	r.over(func(name string) {
		r.keeper.Released("registry", name, time.Since(since))
		r.keeper.Registered(r.service, r.id, false, nil)
	})
	defer r.answer(nil)
	if epoch == nil || r.mod == 0 && !r.entry.Unknown() {
		return
	}
	alive, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	epoch.OnLoss(r, func(cause error) { cancel(cause) })
	for alive.Err() == nil {
		err := r.keeper.Retry(alive, alive, r.key, func(try context.Context) error { return r.leave(try, epoch) })
		if err == nil || alive.Err() != nil {
			return
		}
		r.answer(err)
		r.keeper.Log.Debug("entry not deleted", "key", r.key, "error", err)
		etcd.Sleep(alive, etcd.Jitter(2*time.Second))
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

// leave marks the entry, once, and deletes it. A put that may be on its way fails then.
func (r *Registration) leave(ctx context.Context, e *keeper.Epoch) error {
	client := r.keeper.KV()
	if value, ok := r.lastWord(e); ok {
		switch _, err := client.Do(ctx, r.markOp(value)); {
		case errors.Is(err, rpctypes.ErrNoSpace): // then it goes without a word
		case err != nil:
			return err
		default:
			r.change(func() { r.value = value })
		}
	}
	gone := clientv3.OpTxn([]clientv3.Cmp{r.ours()}, []clientv3.Op{clientv3.OpDelete(r.key)}, nil)
	_, _, err := r.entry.Undo(ctx, gone)
	return err
}
