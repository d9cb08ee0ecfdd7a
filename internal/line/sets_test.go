package line

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/internal/queue"
	"github.com/fenceline/fenceline/session"
)

func TestSetWhoseLeaseIsLostAsItJoinsIsQueuedAgain(t *testing.T) {
	name := etcdtest.Name(t)
	other := ref(t, etcdtest.Shared(t), name+"a")
	h := mustAcquire(t, other, &Options{})
	client := etcdtest.Shared(t).Client(t)
	var s *session.Session
	var once atomic.Bool
	trace := &session.Trace{Queued: func(string, string, int) {
		if once.Swap(true) {
			return
		}
		id := s.Lease()
		_, _ = client.Revoke(context.Background(), id)
		for range 1000 {
			if l := s.Lease(); l != clientv3.NoLease && l != id {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(50 * time.Millisecond)
	}}
	a, sess := opened(t, name+"a", session.WithTrace(trace), session.WithTTL(2*time.Second))
	s = sess
	b := &Ref{Keeper: a.Keeper, Kind: "test", Name: name + "b", Prefix: name + "b/", Policy: queue.Mutex}
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
	defer cancel()
	time.AfterFunc(4*time.Second, func() { _ = h.Release(context.Background()) })
	all, err := AcquireAll(ctx, []Member{{a, &Options{}}, {b, &Options{}}}, false)
	if err != nil {
		t.Fatal(err)
	}
	_ = all.Release(t.Context())
}

type refusingKV struct {
	clientv3.KV
	n *atomic.Int32
}

type refusingTxn struct {
	clientv3.Txn
	n *atomic.Int32
}

func (kv refusingKV) Txn(ctx context.Context) clientv3.Txn { return &refusingTxn{kv.KV.Txn(ctx), kv.n} }

func (x *refusingTxn) If(cs ...clientv3.Cmp) clientv3.Txn { x.Txn = x.Txn.If(cs...); return x }

func (x *refusingTxn) Then(ops ...clientv3.Op) clientv3.Txn { x.Txn = x.Txn.Then(ops...); return x }

func (x *refusingTxn) Else(ops ...clientv3.Op) clientv3.Txn { x.Txn = x.Txn.Else(ops...); return x }

func (x *refusingTxn) Commit() (*clientv3.TxnResponse, error) {
	if x.n.Add(-1) >= 0 {
		return nil, rpctypes.ErrNoSpace
	}
	return x.Txn.Commit()
}

func TestReleaseOfASetThatEtcdRefusedIsTriedAgain(t *testing.T) {
	r, _ := opened(t, etcdtest.Name(t))
	n := &atomic.Int32{}
	r.Keeper.Client.KV = refusingKV{r.Keeper.Client.KV, n}
	for _, what := range []string{"Mutex", "Set"} {
		var release func(context.Context) error
		if what == "Mutex" {
			release = mustAcquire(t, r, &Options{}).Release
		} else {
			a, err := AcquireAll(t.Context(), []Member{{r, &Options{}}}, false)
			if err != nil {
				t.Fatal(err)
			}
			release = a.Release
		}
		n.Store(1)
		t.Log(what, release(t.Context()))
		emptied(t, r.Keeper.Client, r.Prefix)
	}
}

func TestSetThatBreaksWhileItWaitsIsQueuedAgain(t *testing.T) {
	name := etcdtest.Name(t)
	other := ref(t, etcdtest.Shared(t), name+"a")
	client := etcdtest.Shared(t).Client(t)
	h := mustAcquire(t, other, &Options{})
	r := ref(t, etcdtest.Shared(t), name+"a")
	b := &Ref{Keeper: r.Keeper, Kind: "test", Name: name + "b", Prefix: name + "b/", Policy: queue.Mutex}
	done := make(chan error, 1)
	go func() {
		a, err := AcquireAll(t.Context(), []Member{{r, &Options{}}, {b, &Options{}}}, false)
		if err == nil {
			err = a.Release(t.Context())
		}
		done <- err
	}()
	etcdtest.Eventually(t, 5*time.Second, "queued", func() bool { return len(etcdtest.Keys(t, client, b.Prefix)) == 1 })
	time.Sleep(1500 * time.Millisecond)
	if _, err := client.Delete(t.Context(), b.Prefix, clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second)
	if n := len(etcdtest.Keys(t, client, b.Prefix)); n != 1 {
		t.Errorf("2 s after its entry was deleted the set has %d entries in b", n)
	}
	mustRelease(t, h)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestSetThatGivesUpLeavesALocalHoldersEntryAlone(t *testing.T) {
	r, kv, client := late(t, etcdtest.Name(t))
	opts := &Options{MinHold: time.Second}
	mustRelease(t, mustAcquire(t, r, opts)) // parked in slot 0; the line is forgotten
	r.idle(t)
	h := mustAcquire(t, r, &Options{}) // slot 1
	h.Token(0)
	holds := r.start(t, 1, &Options{})
	mustRelease(t, h)
	h = <-holds // slot 2, by a swap
	t.Log(h.Key(0))
	kv.next(1, false)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for {
			kv.mu.Lock()
			n := len(kv.late)
			kv.mu.Unlock()
			if n > 0 {
				cancel()
				return
			}
		}
	}()
	if _, err := AcquireAll(ctx, []Member{{r, &Options{}}}, false); err == nil {
		t.Fatal("granted")
	}
	time.Sleep(300 * time.Millisecond)
	if n := len(etcdtest.Keys(t, client, r.Prefix)); n != 1 {
		t.Errorf("%d entries; the hold: %v", n, context.Cause(h.Context()))
	}
}
