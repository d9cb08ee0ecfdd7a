package line

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

func TestEnqueueOnItsWayIsNotForgottenForAnotherSlot(t *testing.T) {
	r, kv, client := late(t, etcdtest.Name(t))
	opts := &Options{MinHold: time.Second}
	mustRelease(t, mustAcquire(t, r, opts))
	r.idle(t)
	kv.next(1, false)
	h := mustAcquire(t, r, &Options{})
	mustRelease(t, h)
	kv.arrive(t, 1)
	empty(t, client, r.Prefix)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if h, err := r.Acquire(ctx, &Options{}, false); err != nil {
		t.Errorf("the next Acquire here: %v", err)
	} else {
		mustRelease(t, h)
	}
}

func TestTakeoverDelayOfALaterCallerCounts(t *testing.T) {
	name := etcdtest.Name(t)
	holder, hs := opened(t, name)
	mustAcquire(t, holder, &Options{})
	r := ref(t, etcdtest.Shared(t), name)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { _, _ = r.Acquire(ctx, &Options{}, false) }()
	r2 := r
	etcdtest.Eventually(t, 5*time.Second, "view", func() bool {
		return r2.look(func(l *Line) bool {
			return l.m.tracks[0].view != nil && l.m.tracks[0].view.ready && l.m.attempt != nil && l.m.attempt.stage == queued
		})
	})
	const delay = 2 * time.Second
	got := make(chan time.Time, 1)
	go func() {
		h, err := r.Acquire(t.Context(), &Options{TakeoverDelay: delay}, false)
		if err != nil {
			t.Error(err)
		}
		got <- time.Now()
		_ = h.Release(context.Background())
	}()
	r.waits(t, 2)
	cancel()
	r.waits(t, 1)
	began := time.Now()
	if _, err := r.Keeper.Client.Revoke(t.Context(), hs.Lease()); err != nil {
		t.Fatal(err)
	}
	if after := (<-got).Sub(began); after < delay {
		t.Errorf("granted after %v", after)
	}
}

func TestDeathHeardOfBeforeTheEnqueueIsAnsweredCounts(t *testing.T) {
	name := etcdtest.Name(t)
	client := etcdtest.Shared(t).Client(t)
	holder, hs := opened(t, name)
	var arm atomic.Bool
	trace := &session.Trace{Queued: func(string, string, int) {
		if arm.Swap(false) {
			_, _ = client.Revoke(context.Background(), hs.Lease())
			time.Sleep(200 * time.Millisecond)
		}
	}}
	r, _ := opened(t, name, session.WithTrace(trace))
	const delay = 2 * time.Second
	opts := &Options{TakeoverDelay: delay}
	h := mustAcquire(t, holder, &Options{})
	holds := r.start(t, 1, opts)
	r.sees(t, yes)
	mustRelease(t, h)
	mustRelease(t, <-holds) // the view stays warm
	mustAcquire(t, holder, &Options{})
	arm.Store(true)
	began := time.Now()
	mustRelease(t, mustAcquire(t, r, opts))
	if after := time.Since(began); after < delay {
		t.Errorf("granted after %v", after)
	}
}

func TestEndOfAMinimumHoldIsNoDeath(t *testing.T) {
	name := etcdtest.Name(t)
	holder := ref(t, etcdtest.Shared(t), name)
	r := ref(t, etcdtest.Shared(t), name)
	mustRelease(t, mustAcquire(t, holder, &Options{MinHold: 2 * time.Second}))
	began := time.Now()
	mustRelease(t, mustAcquire(t, r, &Options{TakeoverDelay: 5 * time.Second}))
	if after := time.Since(began); after > 4*time.Second {
		t.Errorf("granted after %v", after)
	}
}

func TestTryDoesNotWaitOutATakeoverDelay(t *testing.T) {
	name := etcdtest.Name(t)
	holder, hs := opened(t, name)
	if _, err := rwOf(holder).Acquire(t.Context(), writing, &Options{}, false); err != nil {
		t.Fatal(err)
	}
	r, _ := opened(t, name)
	rw := rwOf(r)
	opts := &Options{TakeoverDelay: time.Hour}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _, _ = rw.Acquire(ctx, reading, opts, false) }()
	etcdtest.Eventually(t, 5*time.Second, "queued", func() bool { return len(etcdtest.Keys(t, r.Keeper.Client, r.Prefix)) == 2 })
	etcdtest.Eventually(t, 5*time.Second, "its own knowledge of that", func() bool {
		return rw[reading].look(func(l *Line) bool { return l.m.attempt != nil && l.m.attempt.stage == queued })
	})
	if _, err := r.Keeper.Client.Revoke(t.Context(), hs.Lease()); err != nil {
		t.Fatal(err)
	}
	etcdtest.Eventually(t, 5*time.Second, "first", func() bool { return len(etcdtest.Keys(t, r.Keeper.Client, r.Prefix)) == 1 })
	etcdtest.Eventually(t, 5*time.Second, "the death to be known", func() bool {
		return rw[reading].look(func(l *Line) bool { return l.m.attempt.spots[0].died })
	})
	tctx, tcancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer tcancel()
	began := time.Now()
	if _, err := rw.Acquire(tctx, reading, opts, true); !errors.Is(err, ErrHeld) {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
}
