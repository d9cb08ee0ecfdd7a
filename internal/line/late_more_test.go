package line

import (
	"context"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/internal/queue"
)

func TestDowngradeWhoseAnswerIsLostOrLateIsOneDowngrade(t *testing.T) {
	r, kv, client := late(t, etcdtest.Name(t))
	rw := bothSides(r.Keeper, r.Name, r.Prefix)
	for _, after := range []bool{true, false} {
		h, err := rw.Acquire(t.Context(), writing, &Options{}, false)
		if err != nil {
			t.Fatal(err)
		}
		token := h.Token(0)
		kv.next(2, after)
		if err := h.Demote(t.Context()); err != nil {
			t.Fatal(err)
		}
		reader, err := rw.Acquire(t.Context(), reading, &Options{}, false)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Get(t.Context(), h.Key(0))
		if err != nil || len(resp.Kvs) != 1 || string(resp.Kvs[0].Value) != queue.ReadValue || h.Token(0) != token {
			t.Errorf("entry %v, token %d, before it was %d: %v", resp.Kvs, h.Token(0), token, err)
		}
		mustRelease(t, reader)
		mustRelease(t, h)
		if !after {
			kv.arrive(t, 2)
		}
		empty(t, client, r.Prefix)
	}
}

func TestParkWhoseAnswerIsLostOrLateKeepsTheEntryForItsTime(t *testing.T) {
	r, kv, client := late(t, etcdtest.Name(t))
	for _, after := range []bool{true, false} {
		h := mustAcquire(t, r, &Options{MinHold: time.Second})
		began := time.Now()
		kv.next(2, after)
		mustRelease(t, h)
		if keys := etcdtest.Keys(t, client, r.Prefix); len(keys) != 1 {
			t.Errorf("parked: %q", keys)
		}
		h = mustAcquire(t, r, &Options{})
		if d := time.Since(began); d < 950*time.Millisecond {
			t.Errorf("granted after %v", d)
		}
		mustRelease(t, h)
		if !after {
			kv.arrive(t, 2)
		}
		empty(t, client, r.Prefix)
	}
}

// set is two lines of one Session.
func set(r *Ref) []Member {
	var ms []Member
	for _, name := range []string{"a", "b"} {
		ms = append(ms, Member{&Ref{Keeper: r.Keeper, Kind: r.Kind, Name: r.Name + name, Prefix: r.Prefix + name + "/", Policy: queue.Mutex}, &Options{}})
	}
	return ms
}

func TestSetWhoseAnswersAreLostIsOneSet(t *testing.T) {
	r, kv, client := late(t, etcdtest.Name(t))
	for range 3 {
		kv.next(2, true) // of the enqueue
		a, err := AcquireAll(t.Context(), set(r), false)
		if err != nil {
			t.Fatal(err)
		}
		if keys := etcdtest.Keys(t, client, r.Prefix); len(keys) != 2 {
			t.Errorf("entries: %q", keys)
		}
		kv.next(2, true) // of the release: the second finds nothing, which says nothing about the first
		if err := a.Release(t.Context()); err != nil {
			t.Errorf("release: %v", err)
		}
		empty(t, client, r.Prefix)
	}
}

func TestSetThatArrivesAfterItsCallerLeftFails(t *testing.T) {
	r, kv, client := late(t, etcdtest.Name(t))
	kv.next(1, false)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() { _, err := AcquireAll(ctx, set(r), false); failed <- err }()
	etcdtest.Eventually(t, 5*time.Second, "the enqueue on its way", func() bool {
		kv.mu.Lock()
		defer kv.mu.Unlock()
		return len(kv.late) == 1
	})
	cancel()
	if err := <-failed; err == nil {
		t.Fatal("granted")
	}
	slotsTaken(t, r, 0)
	kv.arrive(t, 1)
	empty(t, client, r.Prefix)
}

func TestSetThatArrivesAfterItsRepetitionWasReleasedFails(t *testing.T) {
	r, kv, client := late(t, etcdtest.Name(t))
	kv.next(1, false)
	a, err := AcquireAll(t.Context(), set(r), false)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	kv.arrive(t, 1)
	empty(t, client, r.Prefix)
}

// slotsTaken waits until r's Session has given back all slots but n, and with them their entries.
func slotsTaken(t *testing.T, r *Ref, n int) {
	t.Helper()
	table := Of(r.Keeper)
	etcdtest.Eventually(t, 5*time.Second, "slots given back", func() bool {
		table.mu.Lock()
		defer table.mu.Unlock()
		return len(table.slots) == n
	})
}

func TestSetLeavesASlotThatAStrangerHas(t *testing.T) {
	r, _, client := late(t, etcdtest.Name(t))
	ms := set(r)
	lease := r.Keeper.Current().ID()
	stranger := keyspace.Entry(ms[1].Prefix, lease, 0)
	other, err := client.Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Put(t.Context(), stranger, "", clientv3.WithLease(other.ID)); err != nil {
		t.Fatal(err)
	}
	done := make(chan *Hold, 1)
	go func() {
		a, err := AcquireAll(t.Context(), ms, false)
		if err != nil {
			t.Error(err)
		}
		done <- a
	}()
	etcdtest.Eventually(t, 5*time.Second, "an entry beside the stranger's", func() bool {
		return len(etcdtest.Keys(t, client, ms[1].Prefix)) == 2
	})
	if _, err := client.Revoke(t.Context(), other.ID); err != nil {
		t.Fatal(err)
	}
	a := <-done
	if err := a.Release(t.Context()); err != nil {
		t.Error(err)
	}
	slotsTaken(t, r, 1) // the stranger's, for good
	if r.Keeper.Current().ID() != lease {
		t.Error("the lease has changed")
	}
}
