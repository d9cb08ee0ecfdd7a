package lock_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
)

func TestAThousandGoroutinesAreOneEntryAndAtMostOneWatch(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t) // nobody else watches there
	client, name := server.Client(t), etcdtest.Name(t)
	s := open(t, client)
	idle := watchers(t, client)

	other := acquire(t, lock.New(open(t, server.Client(t)), name))
	var inside, most atomic.Int64
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			l, err := lock.New(s, name).Acquire(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			if inside.Add(1) != 1 {
				t.Error("two inside")
			}
			inside.Add(-1)
			if err := l.Release(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	queued(t, client, name, 2)
	watching(t, client, name)
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	observe := func() {
		if n := len(lineOf(t, client, name)); n > 2 {
			t.Errorf("%d entries for two processes", n)
		}
		if n := watchers(t, client) - idle; n > 1 {
			most.Store(max(most.Load(), int64(n)))
		}
	}
	observe()
	release(t, other)
	for {
		observe()
		select {
		case <-done:
			if n := most.Load(); n > 1 {
				t.Errorf("%d watches for one process", n)
			}
			queued(t, client, name, 0)
			return
		default:
		}
	}
}

func TestExposedEntryIsNeverPassedOn(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s := open(t, client)
	m := lock.New(s, name)
	last := acquire(t, m)
	for range 20 {
		got := acquiring(t, m)
		token := last.Token()
		release(t, last)
		next := <-got
		if next.Token() <= token {
			t.Fatalf("token %d after %d", next.Token(), token)
		}
		last = next
	}
	release(t, last)
	queued(t, client, name, 0)
}

func TestTryAcquireThatFailsWritesNothing(t *testing.T) {
	client, name := etcdtest.Start(t).Client(t), etcdtest.Name(t) // nobody else writes there
	sa, sb := open(t, client), open(t, client)
	l, err := lock.New(sa, name).TryAcquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before, err := client.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []*lock.Mutex{lock.New(sa, name), lock.New(sb, name)} { // of this process, and of another
		if _, err := m.TryAcquire(t.Context()); !errors.Is(err, lock.ErrHeld) {
			t.Errorf("TryAcquire of a held lock: %v", err)
		}
	}
	after, err := client.Get(t.Context(), name)
	if err != nil || after.Header.Revision != before.Header.Revision {
		t.Errorf("revision %d became %d: %v", before.Header.Revision, after.Header.Revision, err)
	}
	release(t, l)
	if l, err = lock.New(sb, name).TryAcquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	release(t, l)
}

func TestTryAcquireDoesNotWaitForTheDeletionOfTheLastHold(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	m := lock.New(open(t, client), name)
	for range 20 {
		l, err := m.TryAcquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		release(t, l)
	}
}

func TestLingerEndsAtOnceWhenSomeoneElseQueues(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	for _, look := range []bool{false, true} {
		m := lock.New(open(t, client), name, lock.WithLinger(time.Hour))
		l := acquire(t, m)
		if look {
			l.Key()
		}
		release(t, l)
		release(t, acquire(t, lock.New(open(t, client), name)))
		queued(t, client, name, 0)
	}
}

func TestLingerEndsByItself(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	release(t, acquire(t, lock.New(open(t, client), name, lock.WithLinger(50*time.Millisecond))))
	queued(t, client, name, 0)
}

func TestMaxWaitersCountsThisProcessAndTheOthers(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s := open(t, client)
	l := acquire(t, lock.New(open(t, client), name)) // somebody holds
	first := acquiring(t, lock.New(open(t, client), name))
	queued(t, client, name, 2) // and one waits

	if _, err := lock.New(s, name, lock.WithMaxWaiters(1)).Acquire(t.Context()); !errors.Is(err, lock.ErrQueueFull) {
		t.Errorf("one waits elsewhere, one may: %v", err)
	}
	queued(t, client, name, 2) // nothing stays
	second := acquiring(t, lock.New(s, name, lock.WithMaxWaiters(2)))
	queued(t, client, name, 3)
	if _, err := lock.New(s, name, lock.WithMaxWaiters(1)).Acquire(t.Context()); !errors.Is(err, lock.ErrQueueFull) {
		t.Errorf("one waits here, one may: %v", err)
	}
	release(t, l)
	release(t, <-first)
	release(t, <-second)
}
