package lock_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

// open is a session of its own process, as it were: a client and a lease that nobody else uses.
func open(t testing.TB, client *clientv3.Client, opts ...session.Option) *session.Session {
	t.Helper()
	s, err := session.Open(t.Context(), client, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// acquire gets a lock within ten seconds, and gives it back at the end of the test if the test has not.
func acquire(t testing.TB, m *lock.Mutex) *lock.Lock {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	l, err := m.Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func release(t testing.TB, l *lock.Lock) {
	t.Helper()
	if err := l.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// acquiring acquires in a goroutine; the channel yields the lock, or nil when it failed.
func acquiring(t testing.TB, m *lock.Mutex) <-chan *lock.Lock {
	got := make(chan *lock.Lock, 1)
	go func() {
		l, err := m.Acquire(t.Context())
		if err != nil && t.Context().Err() == nil {
			t.Errorf("Acquire: %v", err)
		}
		got <- l
	}()
	return got
}

func lineOf(t testing.TB, client *clientv3.Client, name string) []string {
	return etcdtest.Keys(t, client, "fenceline/lock/"+name+"/")
}

func queued(t testing.TB, client *clientv3.Client, name string, n int) {
	t.Helper()
	etcdtest.Eventually(t, 5*time.Second, "entries in line", func() bool { return len(lineOf(t, client, name)) == n })
}

func TestUncontendedAcquireAndReleaseLeaveNothing(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	m := lock.New(open(t, client), name)
	for range 3 {
		l := acquire(t, m)
		if err := context.Cause(l.Context()); err != nil {
			t.Fatal(err)
		}
		release(t, l)
		if err := context.Cause(l.Context()); !errors.Is(err, session.ErrNotHeld) {
			t.Fatalf("cause after release: %v", err)
		}
	}
	if keys := lineOf(t, client, name); len(keys) != 0 {
		t.Fatalf("left behind: %q", keys)
	}
}

func TestReleaseWakesNext(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	a, b := lock.New(open(t, client), name), lock.New(open(t, client), name)
	la := acquire(t, a)
	got := acquiring(t, b)
	queued(t, client, name, 2)
	release(t, la)
	release(t, <-got)
	queued(t, client, name, 0)
}

func TestContendersNeverOverlapAndTokensGrow(t *testing.T) {
	for _, n := range []int{2, 3, 8} {
		name := etcdtest.Name(t)
		var inside, last, total atomic.Int64
		var wg sync.WaitGroup
		for range n {
			m := lock.New(open(t, etcdtest.Shared(t).Client(t)), name)
			wg.Go(func() {
				for range 100 {
					l, err := m.Acquire(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					if inside.Add(1) != 1 {
						t.Error("two inside")
					}
					if tok := int64(l.Token()); last.Swap(tok) >= tok {
						t.Error("token did not grow")
					}
					total.Add(1)
					inside.Add(-1)
					if err := l.Release(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		start := time.Now()
		wg.Wait()
		t.Logf("%d contenders: %.0f/s", n, float64(total.Load())/time.Since(start).Seconds())
	}
}

func TestGoroutinesOfOneSessionExcludeEachOther(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s := open(t, client)
	counter := 0
	var wg sync.WaitGroup
	for range 100 {
		m := lock.New(s, name)
		wg.Go(func() {
			for range 100 {
				l, err := m.Acquire(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				counter++
				if err := l.Release(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if counter != 100*100 {
		t.Fatalf("lost updates: %d of %d", counter, 100*100)
	}
	queued(t, client, name, 0)
}
