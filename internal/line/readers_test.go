package line

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/queue"
	"github.com/fenceline/fenceline/session"
)

// sides are the two lines of a read-write lock. Which of them here comes first package lock sees to.
type sides [2]Ref

const reading, writing = 0, 1

func bothSides(k *keeper.Keeper, name, prefix string) *sides {
	s := &sides{}
	for i, p := range []queue.Policy{queue.Reader, queue.Writer} {
		r := &s[i]
		r.Keeper, r.Kind, r.Name, r.Prefix, r.Policy, r.Lane = k, "rw", name, prefix, p, i
	}
	return s
}

func (s *sides) Acquire(ctx context.Context, lane int, opts *Options, try bool) (*Hold, error) {
	return s[lane].Acquire(ctx, opts, try)
}

func rwOf(r *Ref) *sides { return bothSides(r.Keeper, r.Name, r.Prefix) }

func opened(t *testing.T, name string, opts ...session.Option) (*Ref, *session.Session) {
	t.Helper()
	s, err := session.Open(t.Context(), etcdtest.Shared(t).Client(t), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	return &Ref{Keeper: keeper.Of(s), Kind: "test", Name: name, Prefix: name + "/", Policy: queue.Mutex}, s
}

func TestWriterWhoGivesUpLeavesADowngradedEntryAlone(t *testing.T) {
	r, kv, client := late(t, etcdtest.Name(t))
	rw := rwOf(r)
	w, err := rw.Acquire(t.Context(), writing, &Options{}, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Demote(t.Context()); err != nil {
		t.Fatal(err)
	}
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
	if _, err := rw.Acquire(ctx, writing, &Options{}, false); err == nil {
		t.Fatal("granted")
	}
	rw[writing].idle(t)
	if n := len(etcdtest.Keys(t, client, r.Prefix)); n != 1 {
		t.Errorf("%d entries; the read hold: ended %v", n, context.Cause(w.Context()))
	}
	_, other := opened(t, r.Name)
	o := bothSides(keeper.Of(other), r.Name, r.Prefix)
	if h, err := o.Acquire(t.Context(), writing, &Options{}, true); err == nil {
		t.Errorf("a writer elsewhere beside a reader: read hold cause %v", context.Cause(w.Context()))
		_ = h.Release(t.Context())
	}
}

func TestWriterDoesNotAdoptAReadersEntry(t *testing.T) {
	r, kv, _ := late(t, etcdtest.Name(t))
	rw := rwOf(r)
	opts := &Options{MinHold: 2 * time.Second}
	for range 2 {
		h, err := rw.Acquire(t.Context(), reading, opts, false)
		if err != nil {
			t.Fatal(err)
		}
		mustRelease(t, h)
	}
	h, err := rw.Acquire(t.Context(), reading, opts, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(h.Key(0))
	kv.next(1, false)
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel()
	w, err := rw.Acquire(ctx, writing, &Options{}, false)
	if err == nil {
		t.Errorf("writer granted with %s while the reader holds %s: reader cause %v", w.Key(0), h.Key(0), context.Cause(h.Context()))
	}
}

func TestDowngradeThatIsUnansweredAndThenRefusedLeavesNothing(t *testing.T) {
	r, kv, client := late(t, etcdtest.Name(t))
	n := &atomic.Int32{}
	rw := rwOf(r)
	w, err := rw.Acquire(t.Context(), writing, &Options{}, false)
	if err != nil {
		t.Fatal(err)
	}
	kv.mu.Lock()
	kv.KV = refusingKV{kv.KV, n}
	kv.mu.Unlock()
	kv.next(1, true)
	done := make(chan error, 1)
	go func() { done <- w.Demote(t.Context()) }()
	etcdtest.Eventually(t, 5*time.Second, "demoted in etcd", func() bool {
		resp, err := client.Get(t.Context(), r.Prefix, clientv3.WithPrefix())
		return err == nil && len(resp.Kvs) == 1 && string(resp.Kvs[0].Value) == queue.ReadValue
	})
	n.Store(1)
	t.Log("Demote:", <-done)
	t.Log("Release:", w.Release(t.Context()))
	emptied(t, client, r.Prefix)
}

func TestDowngradeWakesReadersInALongLine(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	w, err := rwOf(ref(t, m, name)).Acquire(t.Context(), writing, &Options{}, false)
	if err != nil {
		t.Fatal(err)
	}
	n := 7
	client := m.Client(t)
	got := make(chan *Hold, n)
	var readers []*sides
	for i := range n {
		rw := rwOf(ref(t, m, name))
		readers = append(readers, rw)
		go func() {
			h, err := rw.Acquire(t.Context(), reading, &Options{}, false)
			if err != nil {
				t.Error(err)
			}
			got <- h
		}()
		etcdtest.Eventually(t, 5*time.Second, "queued", func() bool { return len(etcdtest.Keys(t, client, name+"/")) == i+2 })
	}
	for _, rw := range readers {
		etcdtest.Eventually(t, 5*time.Second, "a watch of the writer", func() bool {
			return rw[reading].look(func(l *Line) bool { v := l.m.tracks[0].view; return v != nil && v.ready })
		})
	}
	began := time.Now()
	if err := w.Demote(t.Context()); err != nil {
		t.Fatal(err)
	}
	var holds []*Hold
	for range n {
		holds = append(holds, <-got)
		t.Logf("a reader after %v", time.Since(began).Round(time.Millisecond))
	}
	if d := time.Since(began); d > time.Second {
		t.Errorf("the last reader entered %v after the downgrade", d)
	}
	for _, h := range holds {
		mustRelease(t, h)
	}
	mustRelease(t, w)
}

func TestReadersWhoWaitForNobodyAreNotWaiters(t *testing.T) {
	r, kv, _ := late(t, etcdtest.Name(t))
	rw := rwOf(r)
	opts := &Options{MaxWaiters: 1}
	first, err := rw.Acquire(t.Context(), reading, opts, false)
	if err != nil {
		t.Fatal(err)
	}
	_ = kv
	errs := make(chan error, 8)
	for range 8 {
		go func() {
			h, err := rw.Acquire(t.Context(), reading, opts, false)
			if err == nil {
				err = h.Release(t.Context())
			}
			errs <- err
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Errorf("a reader beside a reader: %v", err)
		}
	}
	mustRelease(t, first)
}
