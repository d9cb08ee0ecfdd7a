package line

import (
	"context"
	"errors"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/internal/keyspace"
)

func (r *Ref) waits(t *testing.T, n int) {
	t.Helper()
	etcdtest.Eventually(t, 5*time.Second, "callers in the local line", func() bool {
		return r.look(func(l *Line) bool { return l.m.queue.Len() == n })
	})
}

func strangers(t *testing.T, client *clientv3.Client, prefix string, n int) {
	t.Helper()
	for i := range n {
		if _, err := client.Put(t.Context(), prefix+"x"+string(rune('a'+i)), ""); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTryThatWasCancelledHarmsNobody(t *testing.T) {
	r, kv, _ := late(t, etcdtest.Name(t))
	other := ref(t, etcdtest.Shared(t), r.Name)
	h := mustAcquire(t, other, &Options{})
	for _, behind := range []int{0, 1} {
		kv.mu.Lock() // etcd takes its time
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := r.Acquire(ctx, &Options{}, true); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("try: %v", err)
		}
		cancel()
		var holds <-chan *Hold
		if behind > 0 {
			holds = r.start(t, behind, &Options{})
		}
		kv.mu.Unlock()
		if behind == 0 {
			r.idle(t)
			continue
		}
		mustRelease(t, h)
		mustRelease(t, <-holds) // not told ErrHeld in place of the one who tried
	}
}

func TestLeaveThatArrivesLateDeletesNothingOfTheNextHold(t *testing.T) {
	r, kv, client := late(t, etcdtest.Name(t))
	kv.next(1, false) // an enqueue, so that the leave has to be a thorough one
	h := mustAcquire(t, r, &Options{})
	kv.next(1, false) // and the first leave
	mustRelease(t, h)
	next := mustAcquire(t, r, &Options{})
	kv.mu.Lock()
	for _, commit := range kv.late {
		commit()
	}
	kv.late = nil
	kv.mu.Unlock()
	if keys := etcdtest.Keys(t, client, r.Prefix); len(keys) != 1 {
		t.Errorf("held, and in etcd: %q", keys)
	}
	mustRelease(t, next)
}

func TestTryThatArrivesAfterItWasRefusedFails(t *testing.T) {
	r, kv, client := late(t, etcdtest.Name(t))
	other := ref(t, etcdtest.Shared(t), r.Name)
	h := mustAcquire(t, other, &Options{})
	kv.next(1, false)
	if _, err := r.Acquire(t.Context(), &Options{}, true); !errors.Is(err, ErrHeld) {
		t.Errorf("try: %v", err)
	}
	r.idle(t)
	mustRelease(t, h)
	kv.arrive(t, 1)
	empty(t, client, r.Prefix)
}

func TestEntryThatIsNotOursIsNotAdopted(t *testing.T) {
	m := etcdtest.Shared(t)
	r := ref(t, m, etcdtest.Name(t))
	client := m.Client(t)
	key := keyspace.Entry(r.Prefix, r.Keeper.Current().ID(), 0)
	if _, err := client.Put(t.Context(), key, "", clientv3.WithLease(r.Keeper.Current().ID())); err != nil {
		t.Fatal(err) // as etcd's own Mutex does on this lease
	}
	holds := r.start(t, 1, &Options{})
	etcdtest.Eventually(t, 5*time.Second, "an entry of our own", func() bool { return len(etcdtest.Keys(t, client, r.Prefix)) == 2 })
	select {
	case <-holds:
		t.Fatal("granted with somebody else's entry")
	default:
	}
	if _, err := client.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	mustRelease(t, <-holds)
}

func TestTryDoesNotSayHeldWhenEtcdIsAway(t *testing.T) {
	r, kv, _ := late(t, etcdtest.Name(t))
	kv.next(1000, false)
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if _, err := r.Acquire(ctx, &Options{}, true); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("try: %v", err)
		}
		cancel()
	}
	kv.next(0, false)
	r.idle(t)
}

func TestWaiterInALineThatGrowsLongIsNotForgotten(t *testing.T) {
	m := etcdtest.Shared(t)
	name := etcdtest.Name(t)
	client := m.Client(t)
	first := ref(t, m, name)
	h := mustAcquire(t, first, &Options{})
	r := ref(t, m, name)
	holds := r.start(t, 1, &Options{})
	etcdtest.Eventually(t, 5*time.Second, "the second in line", func() bool { return len(etcdtest.Keys(t, client, r.Prefix)) == 2 })
	strangers(t, client, r.Prefix, 2*shortLine+1) // behind
	etcdtest.Eventually(t, 4*time.Second, "a watch on the predecessor", func() bool {
		return r.look(func(l *Line) bool {
			return l.m.tracks[0].view != nil && l.m.tracks[0].view.ready && l.m.tracks[0].view.key == h.attempt.spots[0].key
		})
	})
	mustRelease(t, h)
	mustRelease(t, <-holds)
}

func TestViewOfALongLineDoesNotFlip(t *testing.T) {
	m := etcdtest.Shared(t)
	r := ref(t, m, etcdtest.Name(t))
	client := m.Client(t)
	h := mustAcquire(t, r, &Options{})
	holds := r.start(t, 1, &Options{})
	strangers(t, client, r.Prefix, 2*shortLine+1)
	own := func(l *Line) bool {
		return l.m.tracks[0].view != nil && l.m.tracks[0].view.ready && l.m.tracks[0].view.key == l.m.attempt.spots[0].key
	}
	etcdtest.Eventually(t, 5*time.Second, "a watch on the holder's own entry", func() bool { return r.look(own) })
	var view *view
	r.look(func(l *Line) bool { view = l.m.tracks[0].view; return true })
	for range 100 {
		if _, err := client.Get(t.Context(), "x"); err != nil {
			t.Fatal(err)
		}
		if !r.look(func(l *Line) bool { return l.m.tracks[0].view == view }) {
			t.Fatal("the watch was replaced, though nothing has changed")
		}
	}
	if _, err := client.Delete(t.Context(), r.Prefix+"x", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	mustRelease(t, h)
	mustRelease(t, <-holds)
}
