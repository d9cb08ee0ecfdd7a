package lock_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

func TestCancelledWaiterLeavesNoEntry(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	holder := acquire(t, lock.New(open(t, client), name))
	var waiters sync.WaitGroup
	for range 4 {
		m := lock.New(open(t, etcdtest.Shared(t).Client(t)), name)
		waiters.Go(func() {
			for range 25 { // 100 random moments, from before the enqueue to well within the wait
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.Int64N(int64(3*time.Millisecond))))
				_, err := m.Acquire(ctx)
				cancel()
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Acquire: %v", err)
				}
			}
		})
	}
	waiters.Wait()
	queued(t, client, name, 1)
	release(t, holder)
	queued(t, client, name, 0)
}

// Without anyone ahead, the cancel meets the grant, the release of what was granted, and the next enqueue.
func TestCancelAtTheMomentOfTheGrantLeavesNothingHeld(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	m := lock.New(open(t, client), name)
	for range 100 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.Int64N(int64(2*time.Millisecond))))
		if l, err := m.Acquire(ctx); err == nil {
			release(t, l)
		}
		cancel()
	}
	release(t, acquire(t, m))
	queued(t, client, name, 0)
}

func TestCancelledWaiterOfManyLeavesTheOthersWaiting(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s := open(t, client)
	m := lock.New(s, name)
	l := acquire(t, m)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() { _, err := m.Acquire(ctx); failed <- err }()
	got := acquiring(t, m)
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	release(t, l)
	release(t, <-got)
}

// lostAnswer cancels an Acquire whose enqueue has reached etcd, and whose answer has not come back.
func TestCancelWhileTheAnswerToTheEnqueueIsLostLeavesNoEntry(t *testing.T) {
	t.Parallel()
	m := etcdtest.Shared(t)
	direct, p, name := m.Client(t), etcdtest.NewProxy(t, m), etcdtest.Name(t)
	s := open(t, p.Client(t), session.WithTTL(20*time.Second))
	release(t, acquire(t, lock.New(s, name))) // the connection stands
	p.DropAnswers()
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() { _, err := lock.New(s, name).Acquire(ctx); failed <- err }()
	queued(t, direct, name, 1)
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	p.Heal()
	queued(t, direct, name, 0)
	if s.State() != session.Live {
		t.Errorf("the session is %v: the lease did the work", s.State())
	}
	release(t, acquire(t, lock.New(s, name)))
}

// Every request is held back until long after it was given up, and then arrives all the same.
func TestEnqueueThatArrivesAfterItWasGivenUpLeavesNoEntry(t *testing.T) {
	t.Parallel()
	m := etcdtest.Shared(t)
	direct, p, name := m.Client(t), etcdtest.NewProxy(t, m), etcdtest.Name(t)
	s := open(t, p.Client(t), session.WithTTL(30*time.Second))
	release(t, acquire(t, lock.New(s, name)))
	p.Blackhole()
	ctx, cancel := context.WithTimeout(t.Context(), 8500*time.Millisecond) // beyond one request's own timeout
	defer cancel()
	if _, err := lock.New(s, name).Acquire(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	p.Heal()
	release(t, acquire(t, lock.New(s, name))) // the line works, on whatever slot
	queued(t, direct, name, 0)
	for range 20 { // and nothing comes late
		if keys := lineOf(t, direct, name); len(keys) > 0 {
			t.Fatalf("left behind: %q", keys)
		}
	}
	if s.State() != session.Live {
		t.Errorf("the session is %v: the lease did the work", s.State())
	}
}

func TestEndedContextCostsNoRequest(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	m := lock.New(open(t, client), name)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	before, err := client.Get(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []func(context.Context) (*lock.Lock, error){m.Acquire, m.TryAcquire} {
		if _, err := verb(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	if after, err := client.Get(t.Context(), "x"); err != nil || after.Header.Revision != before.Header.Revision {
		t.Errorf("revision %d → %d: %v", before.Header.Revision, after.Header.Revision, err)
	}
}
