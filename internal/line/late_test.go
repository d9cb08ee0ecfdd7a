package line

import (
	"context"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

// lateKV keeps transactions on their way: their sender is told that the connection broke, and they take effect when
// the test says so.
type lateKV struct {
	clientv3.KV
	mu    sync.Mutex
	hold  int  // how many of the next transactions
	after bool // they take effect at once, and only the answer is lost
	late  []func() *clientv3.TxnResponse
}

func (kv *lateKV) Txn(ctx context.Context) clientv3.Txn {
	return etcdtest.Around(kv.KV.Txn(context.WithoutCancel(ctx)), kv.commit)
}

func (kv *lateKV) commit(txn clientv3.Txn) (*clientv3.TxnResponse, error) {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	if kv.hold == 0 {
		return txn.Commit()
	}
	kv.hold--
	broken := status.Error(codes.Unavailable, "the connection broke")
	if kv.after {
		if _, err := txn.Commit(); err != nil {
			return nil, err
		}
		return nil, broken
	}
	kv.late = append(kv.late, func() *clientv3.TxnResponse {
		resp, err := txn.Commit()
		if err != nil {
			panic(err)
		}
		return resp
	})
	return nil, broken
}

// arrive lets the late transactions take effect.
func (kv *lateKV) arrive(t *testing.T, want int) {
	t.Helper()
	kv.mu.Lock()
	defer kv.mu.Unlock()
	if len(kv.late) != want {
		t.Fatalf("%d transactions on their way, want %d", len(kv.late), want)
	}
	for _, commit := range kv.late {
		if wrote(commit()) {
			t.Error("a transaction that was given up has taken effect")
		}
	}
	kv.late = nil
}

// wrote says whether a transaction took effect, of which some are only in parts that have conditions of their own.
func wrote(resp *clientv3.TxnResponse) bool {
	parts, any := 0, false
	for _, op := range resp.Responses {
		if part := op.GetResponseTxn(); part != nil {
			parts++
			any = any || part.Succeeded
		}
	}
	return resp.Succeeded && (parts == 0 || any)
}

func late(t *testing.T, name string) (*Ref, *lateKV, *clientv3.Client) {
	t.Helper()
	m := etcdtest.Shared(t)
	client := m.Client(t)
	kv := &lateKV{KV: client.KV}
	client.KV = kv
	return refOn(t, client, name), kv, m.Client(t)
}

func (kv *lateKV) next(n int, after bool) {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	kv.hold, kv.after = n, after
}

func (r *Ref) idle(t *testing.T) {
	t.Helper()
	etcdtest.Eventually(t, 5*time.Second, "the line at rest", func() bool {
		return r.look(func(l *Line) bool { return l.m.attempt == nil && !l.serves })
	})
}

func empty(t *testing.T, client *clientv3.Client, prefix string) {
	t.Helper()
	if keys := etcdtest.Keys(t, client, prefix); len(keys) != 0 {
		t.Errorf("left in the line: %q", keys)
	}
}

// emptied waits until nothing is left in a line.
func emptied(t *testing.T, client *clientv3.Client, prefix string) {
	t.Helper()
	etcdtest.Eventually(t, 10*time.Second, "nothing in the line", func() bool { return len(etcdtest.Keys(t, client, prefix)) == 0 })
}

func TestEnqueueThatArrivesAfterItsWaiterLeftFails(t *testing.T) {
	r, kv, client := late(t, etcdtest.Name(t))
	kv.next(1, false)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() { _, err := r.Acquire(ctx, &Options{}, false); failed <- err }()
	etcdtest.Eventually(t, 5*time.Second, "the enqueue on its way", func() bool {
		kv.mu.Lock()
		defer kv.mu.Unlock()
		return len(kv.late) == 1
	})
	cancel()
	if err := <-failed; err == nil {
		t.Fatal("granted")
	}
	r.idle(t)
	kv.arrive(t, 1)
	empty(t, client, r.Prefix)
}

func TestEnqueueThatArrivesAfterItsRepetitionWasReleasedFails(t *testing.T) {
	r, kv, client := late(t, etcdtest.Name(t))
	kv.next(1, false)
	h := mustAcquire(t, r, &Options{}) // the repetition gets through
	mustRelease(t, h)
	kv.arrive(t, 1)
	empty(t, client, r.Prefix)
}

func TestEnqueueThatArrivesAfterASwapFails(t *testing.T) {
	r, kv, client := late(t, etcdtest.Name(t))
	kv.next(1, false)
	h := mustAcquire(t, r, &Options{})
	holds := r.start(t, 1, &Options{})
	h.Key(0)
	kv.next(1, false) // and the swap arrives late as well
	mustRelease(t, h)
	h = <-holds
	kv.arrive(t, 2)
	mustRelease(t, h)
	empty(t, client, r.Prefix)
}

func TestLostAnswersAreMadeGood(t *testing.T) {
	r, kv, client := late(t, etcdtest.Name(t))
	for range 5 {
		kv.next(1, true) // of the enqueue
		h := mustAcquire(t, r, &Options{})
		token := h.Token(0)
		if keys := etcdtest.Keys(t, client, r.Prefix); len(keys) != 1 {
			t.Fatalf("entries: %q", keys)
		}
		holds := r.start(t, 1, &Options{})
		kv.next(2, true) // of the swap, twice
		mustRelease(t, h)
		h = <-holds
		if h.Token(0) <= token {
			t.Errorf("token %d after %d", h.Token(0), token)
		}
		kv.next(2, true) // of the release, twice: the second finds nothing, which says nothing about the first
		if err := h.Release(t.Context()); err != nil {
			t.Errorf("Release whose answer was lost: %v", err)
		}
		empty(t, client, r.Prefix)
		kv.next(1, true) // of a try
		if h, err := r.Acquire(t.Context(), &Options{}, true); err != nil {
			t.Errorf("try whose answer was lost: %v", err)
		} else {
			mustRelease(t, h)
		}
		empty(t, client, r.Prefix)
	}
}

func TestSessionRecordThatSomebodyDeletesIsWrittenAgain(t *testing.T) {
	r := ref(t, etcdtest.Shared(t), etcdtest.Name(t))
	client := r.Keeper.Client
	record := r.Keeper.Current().Record()
	for range 2 {
		if _, err := client.Delete(t.Context(), record); err != nil {
			t.Fatal(err)
		}
		mustRelease(t, mustAcquire(t, r, &Options{}))
		if keys := etcdtest.Keys(t, client, record); len(keys) != 1 {
			t.Errorf("record: %q", keys)
		}
	}
}
