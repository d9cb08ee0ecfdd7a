package session_test

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/fenceline/fenceline/barrier"
	"github.com/fenceline/fenceline/cron"
	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/registry"
	"github.com/fenceline/fenceline/semaphore"
	"github.com/fenceline/fenceline/session"
)

// book counts what a Session's hooks tell, by kind.
type book struct {
	mu                      sync.Mutex
	granted, released, lost map[string]int
}

func (b *book) trace() *session.Trace {
	b.granted, b.released, b.lost = map[string]int{}, map[string]int{}, map[string]int{}
	count := func(m map[string]int, kind string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		m[kind]++
	}
	return &session.Trace{
		Granted:  func(kind, _ string, _ time.Duration) { count(b.granted, kind) },
		Released: func(kind, _ string, _ time.Duration) { count(b.released, kind) },
		Lost:     func(kind, _ string, _ error) { count(b.lost, kind) },
	}
}

// is waits until so many were told of.
func (b *book) is(t *testing.T, kind string, granted, released, lost int) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		b.mu.Lock()
		g, r, l := b.granted[kind], b.released[kind], b.lost[kind]
		b.mu.Unlock()
		if g == granted && r == released && l == lost {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: granted %d, released %d, lost %d; want %d, %d, %d", kind, g, r, l, granted, released, lost)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestGrantedIsReleasedOrLostOrHeldForEachKind(t *testing.T) {
	t.Parallel()
	client, name, ctx := etcdtest.Shared(t).Client(t), etcdtest.Name(t), t.Context()
	var b book
	s := open(t, client, session.WithTrace(b.trace()))
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}

	// One of each is released, one is lost with the lease, one is there at the Close.
	hold := func() {
		must[*lock.Lock](t)(lock.New(s, name).Acquire(ctx))
		must[*lock.Set](t)(lock.AcquireAll(ctx, lock.New(s, name+"a"), lock.New(s, name+"b"), lock.New(s, name+"c")))
		must[*lock.Lock](t)(lock.NewRW(s, name).AcquireRead(ctx))
		must[*election.Term](t)(election.New(s, name).Campaign(ctx, ""))
		must[*semaphore.Permit](t)(semaphore.New(s, name, 3).Acquire(ctx, 1))
	}
	ok(must[*lock.Lock](t)(lock.New(s, name).Acquire(ctx)).Release(ctx))
	ok(must[*lock.Set](t)(lock.AcquireAll(ctx, lock.New(s, name+"a"), lock.New(s, name+"b"), lock.New(s, name+"c"))).Release(ctx))
	ok(must[*lock.Lock](t)(lock.NewRW(s, name).AcquireRead(ctx)).Release(ctx))
	ok(must[*election.Term](t)(election.New(s, name).Campaign(ctx, "")).Resign(ctx))
	ok(must[*semaphore.Permit](t)(semaphore.New(s, name, 3).Acquire(ctx, 1)).Release(ctx))
	ok(must[*barrier.Pass](t)(barrier.New(s, name, 1).Enter(ctx)).Leave(ctx))
	ok(must[*registry.Registration](t)(registry.Register(ctx, s, name, registry.Instance{Addr: "10.0.0.1:80"})).Deregister(ctx))
	hold()
	pass := must[*barrier.Pass](t)(barrier.New(s, name, 1).Enter(ctx))
	must[*registry.Registration](t)(registry.Register(ctx, s, name, registry.Instance{Addr: "10.0.0.1:80"}))
	if _, err := client.Revoke(ctx, s.Lease()); err != nil {
		t.Fatal(err)
	}
	<-pass.Context().Done()
	runtime.KeepAlive(pass) // else it may leave by itself
	b.is(t, "lock", 8, 4, 4)
	b.is(t, "rwlock", 2, 1, 1)
	b.is(t, "election", 2, 1, 1)
	b.is(t, "semaphore", 2, 1, 1)
	b.is(t, "barrier", 2, 1, 1)
	b.is(t, "registry", 3, 1, 1) // it comes back by itself
	hold()
	pass = must[*barrier.Pass](t)(barrier.New(s, name, 1).Enter(ctx))
	ok(s.Close(context.Background()))
	runtime.KeepAlive(pass)
	b.is(t, "lock", 12, 4, 8)
	b.is(t, "rwlock", 3, 1, 2)
	b.is(t, "election", 3, 1, 2)
	b.is(t, "semaphore", 3, 1, 2)
	b.is(t, "barrier", 3, 1, 2)
	b.is(t, "registry", 3, 1, 2)
}

func TestRunsThatWereGrantedAreReleasedOrLost(t *testing.T) {
	t.Parallel()
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	var b book
	s := open(t, client, session.WithTrace(b.trace()))
	sched := cron.New(s)
	runs := make(chan struct{}, 100)
	stuck := make(chan struct{})
	n := 0
	if err := sched.Add(name, "@every 1s", func(context.Context, cron.Tick) error {
		runs <- struct{}{}
		if n++; n == 2 {
			<-stuck // until after the Close
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- sched.Run(t.Context()) }()
	<-runs
	<-runs
	b.is(t, "cron", 2, 1, 0)
	go func() { _ = s.Close(context.Background()) }()
	b.is(t, "cron", 2, 1, 1) // though fn has not returned
	close(stuck)
	<-done
}
