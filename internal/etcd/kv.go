package etcd

import (
	"context"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// KV asks for keys, and has each answer noted.
type KV struct {
	Client *clientv3.Client
	Notes  Notes
	Count  func(op string, err error) // told of each request; nil: nobody is
}

func (kv KV) counted(op string, err error) {
	if kv.Count != nil {
		kv.Count(op, err)
	}
}

// Notes is where it is noted how far etcd has come, as its answers show.
type Notes interface {
	// Asking is called before a request is sent, and what it returns is given to Answered.
	Asking() Asked
	// Answered takes the header of the answer. quorum: it is not older than anything that was known when the question was sent, unless etcd has
	// gone back in time.
	Answered(before Asked, header *pb.ResponseHeader, quorum bool)
}

// Asked is what was known when a request was sent: of a life of whoever notes, the largest revision.
type Asked struct {
	Of   any
	Seen int64
}

// Do is that of the client.
func (kv KV) Do(ctx context.Context, op clientv3.Op) (clientv3.OpResponse, error) {
	before := kv.Notes.Asking()
	resp, err := kv.Client.Do(ctx, op)
	kv.counted(nameOf(op), err)
	if err == nil {
		kv.Notes.Answered(before, headerOf(resp), !weak(op))
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
func (kv KV) Txn(ctx context.Context) *Txn { return &Txn{kv: kv, txn: kv.Client.Txn(ctx)} }

// Txn is one of a KV.
type Txn struct {
	kv     KV
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
	before := t.kv.Notes.Asking()
	resp, err := t.txn.Commit()
	t.kv.counted("txn", err)
	if err == nil {
		t.kv.Notes.Answered(before, resp.Header, t.quorum)
	}
	return resp, err
}

func nameOf(op clientv3.Op) string {
	switch {
	case op.IsGet():
		return "get"
	case op.IsPut():
		return "put"
	case op.IsDelete():
		return "delete"
	}
	return "txn"
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
