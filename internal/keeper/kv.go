package keeper

import (
	"context"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// KV is how a session asks etcd for keys. Each answer tells how far etcd has come; one of the quorum that is behind what was known when
// its question was sent shows that etcd was restored from a backup, and ends the epoch, whatever the answer says besides.
type KV struct{ k *Keeper }

// KV is that of the session.
func (k *Keeper) KV() KV { return KV{k} }

// Do is that of the client.
func (kv KV) Do(ctx context.Context, op clientv3.Op) (clientv3.OpResponse, error) {
	a := kv.k.asking()
	resp, err := kv.k.Client.Do(ctx, op)
	if err == nil {
		a.answered(headerOf(resp), !weak(op))
	}
	return resp, err
}

// Get is that of the client.
func (kv KV) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	resp, err := kv.Do(ctx, clientv3.OpGet(key, opts...))
	return resp.Get(), err
}

// ReadAt reads at revision at least; zero: as the quorum has it. What one member has may be behind, since events are sent before their
// revision can be read, other members may lag, and a proxy remembers old answers: it is asked for twice, and then the quorum is. If that is
// behind, etcd's history is.
func (kv KV) ReadAt(ctx context.Context, revision int64, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	local := append(slices.Clone(opts), clientv3.WithSerializable())
	for tries := 0; revision > 0 && tries < 2; tries++ {
		if resp, err := kv.Get(ctx, key, local...); err != nil || resp.Header.Revision >= revision {
			return resp, err
		}
	}
	return kv.Get(ctx, key, opts...)
}

// Put is that of the client.
func (kv KV) Put(ctx context.Context, key, value string, opts ...clientv3.OpOption) (*clientv3.PutResponse, error) {
	resp, err := kv.Do(ctx, clientv3.OpPut(key, value, opts...))
	return resp.Put(), err
}

// Txn is that of the client.
func (kv KV) Txn(ctx context.Context) *Txn { return &Txn{k: kv.k, txn: kv.k.Client.Txn(ctx)} }

// Txn is one of a KV.
type Txn struct {
	k      *Keeper
	txn    clientv3.Txn
	quorum bool // as far as can be told: a branch of it has nothing that a member may answer alone
}

// If is that of the client's transaction.
func (t *Txn) If(cmps ...clientv3.Cmp) *Txn {
	t.txn.If(cmps...)
	return t
}

// Then is that of the client's transaction.
func (t *Txn) Then(ops ...clientv3.Op) *Txn {
	t.quorum = t.quorum || !slices.ContainsFunc(ops, weak)
	t.txn.Then(ops...)
	return t
}

// Else is that of the client's transaction.
func (t *Txn) Else(ops ...clientv3.Op) *Txn {
	t.quorum = t.quorum || !slices.ContainsFunc(ops, weak)
	t.txn.Else(ops...)
	return t
}

// Commit is that of the client's transaction.
func (t *Txn) Commit() (*clientv3.TxnResponse, error) {
	a := t.k.asking()
	resp, err := t.txn.Commit()
	if err == nil {
		a.answered(resp.Header, t.quorum)
	}
	return resp, err
}

// weak says that any member may answer op from what it has.
func weak(op clientv3.Op) bool { return op.IsGet() && op.IsSerializable() }

func headerOf(resp clientv3.OpResponse) *pb.ResponseHeader {
	switch {
	case resp.Get() != nil:
		return resp.Get().Header
	case resp.Put() != nil:
		return resp.Put().Header
	case resp.Del() != nil:
		return resp.Del().Header
	case resp.Txn() != nil:
		return resp.Txn().Header
	}
	return nil
}

// asked is what was known when a question was sent.
type asked struct {
	epoch *Epoch // nil while there is none
	seen  int64
}

func (k *Keeper) asking() asked {
	k.mu.Lock()
	e := k.epoch
	k.mu.Unlock()
	if e == nil {
		return asked{}
	}
	return asked{e, e.Seen()}
}

func (a asked) answered(h *pb.ResponseHeader, quorum bool) {
	switch revision := h.GetRevision(); {
	case a.epoch == nil || revision == 0 || !a.epoch.from(h.GetClusterId()):
	case quorum && revision < a.seen:
		a.epoch.Rewound(a.seen, revision)
	default:
		a.epoch.Saw(revision)
	}
}
