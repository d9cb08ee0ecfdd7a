package registry

import (
	"context"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
)

// put writes the entry over what is known to stand there. The transaction compares the entry, so that nobody else's is
// overwritten.
func (r *Registration) put(ctx context.Context, epoch *keeper.Epoch, value string) error {
	resp, err := r.entry.Commit(ctx, keeper.Attempt{
		If:   []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(r.key), "=", r.mod)},
		Then: []clientv3.Op{clientv3.OpPut(r.key, value, clientv3.WithLease(r.lease))},
		Else: []clientv3.Op{clientv3.OpGet(r.key)},
	})
	switch {
	case err != nil:
		return err
	case resp.Succeeded:
		r.stood(resp.Header.Revision, value)
		return nil
	}
	kv := only(resp.Responses[0].GetResponseRange().Kvs)
	if kv.ModRevision == r.mod { // so it was the record
		if err := resp.Stale(ctx); err != nil {
			return err
		}
		return etcd.Again
	}
	if r.entry.Unknown() && lease(kv) == r.lease && string(kv.Value) == value { // an earlier attempt got through
		r.stood(kv.ModRevision, value)
		return nil
	}
	return r.take(ctx, epoch, kv)
}

// look reads the entry, of which something was heard.
func (r *Registration) look(ctx context.Context, epoch *keeper.Epoch) error {
	resp, err := r.keeper.KV().Get(ctx, r.key)
	if err != nil {
		return err
	}
	r.heard.knows(resp.Header.Revision)
	kv := only(resp.Kvs)
	switch {
	case kv.ModRevision == r.mod:
		return nil
	case lease(kv) == r.lease && r.has(string(kv.Value)):
		r.mod = kv.ModRevision
		return nil
	}
	r.change(func() { r.stands = false })
	return r.take(ctx, epoch, kv)
}

// take finds out whether what stands there may be overwritten; then it says etcd.Again.
func (r *Registration) take(ctx context.Context, epoch *keeper.Epoch, kv *mvccpb.KeyValue) error {
	switch id := lease(kv); {
	case kv.ModRevision == 0: // somebody has deleted it
	case id == r.lease, slices.Contains(r.past, id): // ours, from before
	case id == clientv3.NoLease && !r.fresh(): // somebody has overwritten it, by hand
	case id == clientv3.NoLease:
		return permanent(r.id)
	default:
		if err := r.contest(ctx, id); err != nil {
			return err
		}
	}
	r.mod = kv.ModRevision
	return etcd.Again
}

func (r *Registration) fresh() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.everStood
}

// stood notes that etcd has the entry.
func (r *Registration) stood(mod int64, value string) {
	r.mod = mod
	r.change(func() {
		r.stands, r.everStood, r.placed = r.epoch.Err() == nil, true, r.epoch
		r.value, r.err, r.refusal = value, nil, nil
		if r.stands { // else who was told of the loss, was told before
			r.standing()
		}
	})
}

// only is the one that was read. The zero value has revision 0, as etcd compares a key that is not there.
func only(kvs []*mvccpb.KeyValue) *mvccpb.KeyValue {
	if len(kvs) == 0 {
		return &mvccpb.KeyValue{}
	}
	return kvs[0]
}

func lease(kv *mvccpb.KeyValue) clientv3.LeaseID { return clientv3.LeaseID(kv.Lease) }
