package adapt_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/lock/adapt"
	"github.com/fenceline/fenceline/session"
)

// takeTurns has four goroutines on each of the pairs lock and unlock, and sees that they take turns. Whoever unlocks is
// not the goroutine that locked.
func takeTurns(t *testing.T, pairs ...[2]func() error) {
	t.Helper()
	var inside, turns atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		for _, p := range pairs {
			wg.Go(func() {
				for range 25 {
					if err := p[0](); err != nil {
						t.Error(err)
						return
					}
					if inside.Add(1) != 1 {
						t.Error("two have it")
					}
					turns.Add(1)
					unlocked := make(chan error)
					go func() { inside.Add(-1); unlocked <- p[1]() }()
					if err := <-unlocked; err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	if n := turns.Load(); n != int64(100*len(pairs)) {
		t.Errorf("%d turns", n)
	}
}

func TestCertmagicLockWaitsForEverybodyAndUnlocksFromAnyGoroutine(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	pair := func(c *adapt.CertmagicLocker) [2]func() error {
		return [2]func() error{
			func() error { return c.Lock(t.Context(), name) },
			func() error { return c.Unlock(t.Context(), name) },
		}
	}
	takeTurns(t, pair(adapt.Certmagic(open(t, client))), pair(adapt.Certmagic(open(t, client))))
	queued(t, client, name, 0)
}

func TestCertmagicHoldsSeveralNamesAtOnce(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	c := adapt.Certmagic(open(t, client))
	names := []string{name + "*.example.com", name + "a/b", name}
	for _, n := range names {
		must(t, c.Lock(t.Context(), n))
	}
	for _, n := range names {
		must(t, c.Unlock(t.Context(), n))
	}
	for _, n := range names {
		want(t, c.Unlock(t.Context(), n), session.ErrNotHeld)
	}
	queued(t, client, name, 0)
}

func TestCertmagicTryLockSaysFalseWhoeverHasIt(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	a, b := adapt.Certmagic(open(t, client)), adapt.Certmagic(open(t, client))
	try := func(c *adapt.CertmagicLocker, expected bool) {
		t.Helper()
		if got, err := c.TryLock(t.Context(), name); err != nil || got != expected {
			t.Errorf("TryLock: %v, %v", got, err)
		}
	}
	try(a, true)
	try(a, false)
	try(b, false)
	must(t, a.Unlock(t.Context(), name))
	try(b, true)
	want(t, a.Unlock(t.Context(), name), session.ErrNotHeld) // it is b's
	queued(t, client, name, 1)
	must(t, b.Unlock(t.Context(), name))
}

func TestCertmagicLockThatIsCancelledLeavesNothing(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	l := acquire(t, open(t, client), name)
	c := adapt.Certmagic(open(t, client))
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error, 1)
	go func() { got <- c.Lock(ctx, name) }()
	queued(t, client, name, 2)
	cancel()
	want(t, <-got, context.Canceled)
	want(t, c.Unlock(t.Context(), name), session.ErrNotHeld)
	must(t, l.Release(t.Context()))
	queued(t, client, name, 0)
}

// Whoever lost the lock unlocks while somebody else of the same process has it.
func TestCertmagicUnlockOfALostHoldLeavesTheNextOneAlone(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s := open(t, client)
	c := adapt.Certmagic(s)
	must(t, c.Lock(t.Context(), name))
	lose(t, s)
	must(t, c.Lock(t.Context(), name))
	want(t, c.Unlock(t.Context(), name), session.ErrLost)
	queued(t, client, name, 1)
	must(t, c.Unlock(t.Context(), name))
	queued(t, client, name, 0)
}

func TestCertmagicRenewTakesALostLockAgainUnlessSomebodyHasIt(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s, other := open(t, client), open(t, client)
	c := adapt.Certmagic(s)
	renew := func() error { return c.RenewLockLease(t.Context(), name, time.Hour) }

	l := acquire(t, other, name)
	want(t, renew(), session.ErrNotHeld) // and it does not try to get what it never had
	must(t, l.Release(t.Context()))
	must(t, c.Lock(t.Context(), name))
	must(t, renew())

	lose(t, s)
	l = acquire(t, other, name)
	want(t, renew(), lock.ErrHeld)
	must(t, l.Release(t.Context()))
	must(t, renew())
	queued(t, client, name, 1)
	must(t, c.Unlock(t.Context(), name))
	want(t, c.Unlock(t.Context(), name), session.ErrNotHeld)
	queued(t, client, name, 0)
}
