package barrier

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// heldKV keeps transactions on their way: their sender is told that the connection broke, and they take effect when
// the test says so.
type heldKV struct {
	clientv3.KV
	hold atomic.Int32 // how many of the next
	mu   sync.Mutex
	late []clientv3.Txn
}

type heldTxn struct {
	clientv3.Txn
	kv *heldKV
}

func (kv *heldKV) Txn(ctx context.Context) clientv3.Txn {
	return &heldTxn{kv.KV.Txn(context.WithoutCancel(ctx)), kv}
}

func (x *heldTxn) If(cs ...clientv3.Cmp) clientv3.Txn   { x.Txn = x.Txn.If(cs...); return x }
func (x *heldTxn) Then(ops ...clientv3.Op) clientv3.Txn { x.Txn = x.Txn.Then(ops...); return x }
func (x *heldTxn) Else(ops ...clientv3.Op) clientv3.Txn { x.Txn = x.Txn.Else(ops...); return x }

func (x *heldTxn) Commit() (*clientv3.TxnResponse, error) {
	if x.kv.hold.Add(-1) < 0 {
		return x.Txn.Commit()
	}
	x.kv.mu.Lock()
	defer x.kv.mu.Unlock()
	x.kv.late = append(x.kv.late, x.Txn)
	return nil, status.Error(codes.Unavailable, "the connection broke")
}

// arrive lets them take effect, which none of them is to do.
func (kv *heldKV) arrive(t *testing.T) {
	t.Helper()
	kv.mu.Lock()
	defer kv.mu.Unlock()
	if len(kv.late) == 0 {
		t.Fatal("none was on its way")
	}
	for _, txn := range kv.late {
		if resp, err := txn.Commit(); err != nil || resp.Succeeded {
			t.Errorf("a transaction that was given up has taken effect: %v", err)
		}
	}
	kv.late = nil
}
