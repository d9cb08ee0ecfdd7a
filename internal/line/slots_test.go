package line

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

// rvLeaves loses the next leaves of sets: they never reach etcd.
type rvLeaves struct {
	clientv3.KV
	lost atomic.Int32
}

type rvLeave struct {
	clientv3.Txn
	kv    *rvLeaves
	leave bool
}

func (kv *rvLeaves) Txn(ctx context.Context) clientv3.Txn {
	return &rvLeave{Txn: kv.KV.Txn(ctx), kv: kv}
}

func (x *rvLeave) If(cs ...clientv3.Cmp) clientv3.Txn { x.Txn = x.Txn.If(cs...); return x }
func (x *rvLeave) Then(ops ...clientv3.Op) clientv3.Txn {
	x.leave = ops[0].IsTxn()
	x.Txn = x.Txn.Then(ops...)
	return x
}
func (x *rvLeave) Else(ops ...clientv3.Op) clientv3.Txn { x.Txn = x.Txn.Else(ops...); return x }
func (x *rvLeave) Commit() (*clientv3.TxnResponse, error) {
	if x.leave && x.kv.lost.Add(-1) >= 0 {
		return nil, status.Error(codes.Unavailable, "the connection broke")
	}
	return x.Txn.Commit()
}

// An entry whose enqueue went unanswered once is deleted by hand while it waits. Its slot must not be used again before
// its leave is known to have arrived: that leave deletes whatever of our lease stands under the key.
func TestSlotOfASetIsNotUsedAgainBeforeItsLeaveHasEnded(t *testing.T) {
	name := etcdtest.Name(t)
	r, kv, client := late(t, name)
	leaves := &rvLeaves{KV: r.Keeper.Client.KV}
	r.Keeper.Client.KV = leaves
	other := ref(t, etcdtest.Shared(t), name)
	h := mustAcquire(t, other, &Options{})
	kv.next(1, true) // the answer to the enqueue is lost; its repetition adopts the entry
	type got struct {
		a   *Hold
		err error
	}
	done := make(chan got, 1)
	go func() {
		a, err := AcquireAll(t.Context(), []Member{{r, &Options{}}}, false)
		done <- got{a, err}
	}()
	var mine string
	etcdtest.Eventually(t, 5*time.Second, "the entry", func() bool {
		keys := etcdtest.Keys(t, client, r.Prefix)
		if len(keys) == 2 {
			mine = keys[1]
		}
		return len(keys) == 2
	})
	time.Sleep(300 * time.Millisecond)                          // adopted, and watched
	leaves.lost.Store(1)                                        // the connection breaks as it leaves
	if _, err := client.Delete(t.Context(), mine); err != nil { // by hand
		t.Fatal(err)
	}
	mustRelease(t, h)
	g := <-done
	if g.err != nil {
		t.Fatal(g.err)
	}
	t.Log("granted", g.a.Key(0), "deleted by hand", mine, g.a.Token(0))
	for range 30 {
		time.Sleep(10 * time.Millisecond)
		resp, err := client.Txn(t.Context()).If(g.a.Guard(0)...).Then(clientv3.OpGet("x")).Commit()
		if err != nil {
			t.Fatal(err)
		}
		if !resp.Succeeded && g.a.Context().Err() == nil {
			h2 := mustAcquire(t, other, &Options{})
			t.Errorf("its own earlier leave has deleted its entry; two hold: %v, %v", g.a.Context().Err(), h2.Context().Err())
			mustRelease(t, h2)
			break
		}
	}
	_ = g.a.Release(context.Background())
}

// Slots after a loss: two places must never have one.
func TestSlotIsFreedOnce(t *testing.T) {
	name := etcdtest.Name(t)
	r, _, client := late(t, name)
	other := ref(t, etcdtest.Shared(t), name)
	h := mustAcquire(t, other, &Options{})
	done := make(chan *Hold, 1)
	go func() {
		a, err := AcquireAll(t.Context(), []Member{{r, &Options{}}}, false)
		if err != nil {
			t.Error(err)
		}
		done <- a
	}()
	var mine string
	etcdtest.Eventually(t, 5*time.Second, "the entry", func() bool {
		keys := etcdtest.Keys(t, client, r.Prefix)
		if len(keys) == 2 {
			mine = keys[1]
		}
		return len(keys) == 2
	})
	time.Sleep(300 * time.Millisecond)
	if _, err := client.Delete(t.Context(), mine); err != nil {
		t.Fatal(err)
	}
	etcdtest.Eventually(t, 5*time.Second, "the entry again", func() bool { return len(etcdtest.Keys(t, client, r.Prefix)) == 2 })
	time.Sleep(200 * time.Millisecond)
	key := etcdtest.Keys(t, client, r.Prefix)[1]
	tab := Of(r.Keeper)
	tab.mu.Lock()
	t.Log("key", key, "deleted", mine, "slots", tab.slots)
	if len(tab.slots) != 1 {
		t.Errorf("an entry stands under %q, and slots in use are %v", key, tab.slots)
	}
	tab.mu.Unlock()
	mustRelease(t, h)
	_ = (<-done).Release(t.Context())
}
