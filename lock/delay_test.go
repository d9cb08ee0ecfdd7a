package lock_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

func TestMinHoldKeepsOthersOutThoughItWasReleased(t *testing.T) {
	const hold = time.Second
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s := open(t, client)
	m, other := lock.New(s, name, lock.WithMinHold(hold)), lock.New(open(t, client), name)
	began := time.Now()
	l := acquire(t, m)
	release(t, l)
	if took := time.Since(began); took > hold/2 {
		t.Errorf("the release took %v", took)
	}
	if err := l.Release(t.Context()); !errors.Is(err, session.ErrNotHeld) {
		t.Errorf("second release: %v", err)
	}
	for _, m := range []*lock.Mutex{m, other} {
		if _, err := m.TryAcquire(t.Context()); !errors.Is(err, lock.ErrHeld) {
			t.Errorf("try before its time: %v", err)
		}
	}
	elsewhere := acquiring(t, other)
	queued(t, client, name, 2)
	here := acquiring(t, m)
	release(t, <-elsewhere)
	if after := time.Since(began); after < hold {
		t.Errorf("granted after %v", after)
	}
	release(t, <-here)
	etcdtest.Eventually(t, 5*time.Second, "an empty line", func() bool { return len(lineOf(t, client, name)) == 0 })
}

func TestMinHoldOutlivesTheSession(t *testing.T) {
	const hold = 2 * time.Second
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s, err := session.Open(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	release(t, acquire(t, lock.New(s, name, lock.WithMinHold(hold))))
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	release(t, acquire(t, lock.New(open(t, client), name)))
	if after := time.Since(began); after < hold || after > hold+5*time.Second {
		t.Errorf("granted after %v", after)
	}
}

func TestMinHoldOfALongHoldCostsNothing(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	m := lock.New(open(t, client), name, lock.WithMinHold(20*time.Millisecond))
	l := acquire(t, m)
	key := l.Key()
	time.Sleep(20 * time.Millisecond) // the minimum itself
	release(t, l)
	if left := lineOf(t, client, name); len(left) != 0 {
		t.Errorf("%v of %s", left, key)
	}
}

func TestMinHoldHoldsForReadersAndForSets(t *testing.T) {
	const hold = time.Second
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s, other := open(t, client), open(t, client)

	began := time.Now()
	release(t, get(t, lock.NewRW(s, name, lock.WithMinHold(hold)).AcquireRead))
	release(t, get(t, lock.NewRW(other, name).AcquireRead))
	if after := time.Since(began); after > hold/2 {
		t.Errorf("a reader was kept from another for %v", after)
	}
	release(t, get(t, lock.NewRW(other, name).AcquireWrite))
	if after := time.Since(began); after < hold {
		t.Errorf("a writer entered after %v", after)
	}

	began = time.Now()
	giveBack(t, all(t, lock.New(s, name+"a"), lock.New(s, name+"b", lock.WithMinHold(hold))))
	release(t, acquire(t, lock.New(other, name+"a")))
	if after := time.Since(began); after > hold/2 {
		t.Errorf("without a minimum: %v", after)
	}
	release(t, acquire(t, lock.New(other, name+"b")))
	if after := time.Since(began); after < hold {
		t.Errorf("with a minimum: %v", after)
	}
}

func TestTakeoverWaitsAfterADeathAndNotAfterARelease(t *testing.T) {
	const delay = time.Second
	client := etcdtest.Shared(t).Client(t)
	for _, c := range []struct {
		name   string
		ends   func(*session.Session, *lock.Lock) error
		waits  bool
		before int // others who wait before us, and release
		many   int // locks that the session holds beside
	}{
		{name: "revoked", waits: true, ends: func(s *session.Session, _ *lock.Lock) error {
			_, err := client.Revoke(t.Context(), s.Lease())
			return err
		}},
		{name: "released", ends: func(_ *session.Session, l *lock.Lock) error { return l.Release(t.Context()) }},
		{name: "closed", ends: func(s *session.Session, _ *lock.Lock) error { return s.Close(t.Context()) }},
		{name: "released-then-closed", ends: func(s *session.Session, l *lock.Lock) error {
			return errors.Join(l.Release(t.Context()), s.Close(t.Context()))
		}},
		{name: "revoked-in-a-long-line", waits: true, before: 12, ends: func(s *session.Session, _ *lock.Lock) error {
			_, err := client.Revoke(t.Context(), s.Lease())
			return err
		}},
		{name: "released-in-a-long-line", before: 12, ends: func(_ *session.Session, l *lock.Lock) error { return l.Release(t.Context()) }},
		{name: "revoked-with-many-entries", waits: true, many: 400, ends: func(s *session.Session, l *lock.Lock) error {
			if s.Lease() == l.Lease() {
				return errors.New("not on a further lease")
			}
			_, err := client.Revoke(t.Context(), l.Lease())
			return err
		}},
		{name: "closed-with-many-entries", many: 400, ends: func(s *session.Session, _ *lock.Lock) error { return s.Close(t.Context()) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			name := etcdtest.Name(t)
			s, err := session.Open(t.Context(), client)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close(context.Background())
			for i := range c.many {
				acquire(t, lock.New(s, name+"-beside-"+strconv.Itoa(i)))
			}
			l := acquire(t, lock.New(s, name))
			var others []<-chan *lock.Lock
			for range c.before { // they wait behind the holder, and take their turn with a delay of their own
				others = append(others, acquiring(t, lock.New(open(t, client), name, lock.WithTakeoverDelay(delay))))
				queued(t, client, name, 1+len(others))
			}
			m := lock.New(open(t, client), name, lock.WithTakeoverDelay(delay))
			got := acquiring(t, m)
			queued(t, client, name, 2+c.before)
			began := time.Now()
			if err := c.ends(s, l); err != nil {
				t.Fatal(err)
			}
			for _, o := range others {
				release(t, <-o)
			}
			release(t, <-got)
			after := time.Since(began)
			if c.waits && after < delay || !c.waits && after > delay*9/10 || c.waits && after > 2*delay {
				t.Errorf("granted after %v", after)
			}
		})
	}
}

func TestTakeoverDelayEndsWithCtxAndLeavesNothing(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s := open(t, client)
	acquire(t, lock.New(s, name))
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	m := lock.New(open(t, client), name, lock.WithTakeoverDelay(time.Hour))
	go func() {
		_, err := m.Acquire(ctx)
		failed <- err
	}()
	queued(t, client, name, 2)
	revoke(t, client, s)
	queued(t, client, name, 1)
	still(t, failed, "the waiter")
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	queued(t, client, name, 0)
}
