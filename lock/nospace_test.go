package lock_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
)

func TestReleaseWorksWhileEtcdTakesDeletionsOnly(t *testing.T) {
	t.Parallel()
	m := etcdtest.Start(t)
	client := m.Client(t)
	s := open(t, client)
	releases := map[string]func(context.Context) error{}
	hold := func(what string, l *lock.Lock, err error) *lock.Lock {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		releases[what] = l.Release
		return l
	}
	take := func(what string, opts ...lock.Option) *lock.Lock {
		l, err := lock.New(s, what, opts...).Acquire(t.Context())
		return hold(what, l, err)
	}
	take("plain")
	take("seen").Key()
	take("linger", lock.WithLinger(time.Hour))
	take("linger-seen", lock.WithLinger(time.Hour)).Key()
	take("min-hold", lock.WithMinHold(2*time.Second))
	take("min-hold-seen", lock.WithMinHold(2*time.Second), lock.WithLinger(time.Second)).Key()
	w, err := lock.NewRW(s, "write").AcquireWrite(t.Context())
	hold("write", w, err)
	rw := lock.NewRW(s, "downgraded")
	w, err = rw.AcquireWrite(t.Context())
	if err := rw.Downgrade(t.Context(), hold("downgraded", w, err)); err != nil {
		t.Fatal(err)
	}
	r, err := lock.NewRW(s, "read").AcquireRead(t.Context())
	hold("read", r, err)
	for what, opt := range map[string]lock.Option{"set": lock.WithLinger(0), "min-hold-set": lock.WithMinHold(2 * time.Second)} {
		set, err := lock.AcquireAll(t.Context(), lock.New(s, what+"-a", opt), lock.New(s, what+"-b", opt))
		if err != nil {
			t.Fatal(err)
		}
		releases[what] = set.Release
	}
	m.NoSpace(t)
	for what, release := range releases {
		if err := release(t.Context()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	lingering := 0 // "linger" lingers on: nobody has seen it
	etcdtest.Eventually(t, 10*time.Second, "all of them gone", func() bool {
		lingering = len(lineOf(t, client, "linger"))
		return len(etcdtest.Keys(t, client, "fenceline/lock/"))-lingering == 0 && len(etcdtest.Keys(t, client, "fenceline/rwlock/")) == 0
	})
	if _, err := lock.New(s, "refused").Acquire(t.Context()); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("an enqueue meanwhile: %v", err)
	}
	m.Space(t)
	for what := range releases {
		release(t, acquire(t, lock.New(s, what)))
	}
}

// The release of an entry that another goroutine waits for is an exchange, which needs space.
func TestReleaseWithAWaiterHereWorksWithoutSpace(t *testing.T) {
	t.Parallel()
	m := etcdtest.Start(t)
	client := m.Client(t)
	s, other := open(t, client), open(t, client)
	l := acquire(t, lock.New(s, "x"))
	l.Key()
	refused := make(chan error, 1)
	go func() {
		_, err := lock.New(s, "x").Acquire(t.Context())
		refused <- err
	}()
	waiting(t, s, "x")
	theirs := acquiring(t, lock.New(other, "x")) // in line already
	queued(t, client, "x", 2)
	m.NoSpace(t)
	release(t, l)
	if err := <-refused; !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("the waiter here: %v", err)
	}
	release(t, <-theirs)
	queued(t, client, "x", 0)
}

func TestMinHoldIsKeptWithoutSpace(t *testing.T) {
	t.Parallel()
	const rest = 3 * time.Second
	m := etcdtest.Start(t)
	client := m.Client(t)
	s, other := open(t, client), open(t, client)
	began := time.Now()
	l := acquire(t, lock.New(s, "x", lock.WithMinHold(rest)))
	got := acquiring(t, lock.New(other, "x"))
	queued(t, client, "x", 2)
	m.NoSpace(t)
	release(t, l)
	if _, err := lock.New(s, "x").TryAcquire(t.Context()); !errors.Is(err, lock.ErrHeld) && !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("try here: %v", err)
	}
	theirs := <-got
	if after := time.Since(began); after < rest {
		t.Errorf("the next one holds after %v", after)
	}
	release(t, theirs)
}
