package lock_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

func TestTakeoverDelayHoldsForWhoeverIsGrantedNextHere(t *testing.T) {
	const delay = 2 * time.Second
	for name, between := range map[string]func(*lock.Lock){
		"the entry is handed on":  func(*lock.Lock) {},
		"the entry was looked at": func(l *lock.Lock) { l.Key() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
			dying := open(t, client)
			acquire(t, lock.New(dying, name))
			s := open(t, client)
			first := acquiring(t, lock.New(s, name))
			queued(t, client, name, 2)
			careful := acquiring(t, lock.New(s, name, lock.WithTakeoverDelay(delay)))
			waiting(t, s, name)
			died := time.Now()
			revoke(t, client, dying)
			l := <-first
			between(l)
			release(t, l)
			l = <-careful
			if after := time.Since(died); after < delay {
				t.Errorf("granted %v after the death", after)
			}
			release(t, l)
		})
	}
}

// waiting gives calls that were made in goroutines the time to stand in the local line: a try that fails says that they do.
func waiting(t *testing.T, s *session.Session, name string) {
	t.Helper()
	for range 20 {
		if _, err := lock.New(s, name).TryAcquire(t.Context()); !errors.Is(err, lock.ErrHeld) {
			t.Fatalf("try: %v", err)
		}
	}
	time.Sleep(50 * time.Millisecond)
}

func TestTakeoverDelayHoldsForAReaderWhoWouldJoin(t *testing.T) {
	t.Parallel()
	const delay = 2 * time.Second
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	dying, s := open(t, client), open(t, client)
	if _, err := lock.NewRW(dying, name).AcquireWrite(t.Context()); err != nil {
		t.Fatal(err)
	}
	read := func(opts ...lock.RWOption) <-chan *lock.Lock {
		got := make(chan *lock.Lock, 1)
		go func() {
			l, err := lock.NewRW(s, name, opts...).AcquireRead(t.Context())
			if err != nil {
				t.Error(err)
			}
			got <- l
		}()
		return got
	}
	lines := func(n int) func() bool {
		return func() bool { return len(etcdtest.Keys(t, client, "fenceline/rwlock/"+name+"/")) == n }
	}
	first := read()
	etcdtest.Eventually(t, 5*time.Second, "the reader in line", lines(2))
	careful := read(lock.WithTakeoverDelay(delay))
	time.Sleep(100 * time.Millisecond) // it stands in the local line
	died := time.Now()
	revoke(t, client, dying)
	l := <-first
	c := <-careful
	if after := time.Since(died); after < delay {
		t.Errorf("joined %v after the death", after)
	}
	release(t, c)
	release(t, l)
}

func TestWhoeverMayWaitIsNotRefusedLater(t *testing.T) {
	t.Parallel()
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s := open(t, client)
	l := acquire(t, lock.New(s, name))
	l.Key() // the next one here needs a new entry, at the back
	admitted := acquiring(t, lock.New(s, name, lock.WithMaxWaiters(2)))
	waiting(t, s, name)
	var others []<-chan *lock.Lock
	for i := range 4 {
		others = append(others, acquiring(t, lock.New(open(t, client), name)))
		queued(t, client, name, 2+i)
	}
	release(t, l)
	for _, o := range others {
		release(t, <-o)
	}
	release(t, <-admitted)
}

func TestSetThatMayWaitIsNotRefusedLater(t *testing.T) {
	t.Parallel()
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	holder, s := open(t, client), open(t, client)
	l := acquire(t, lock.New(holder, name))
	type result struct {
		set *lock.Set
		err error
	}
	got := make(chan result, 1)
	go func() {
		set, err := lock.AcquireAll(t.Context(), lock.New(s, name, lock.WithMaxWaiters(1)), lock.New(s, name+"-b"))
		got <- result{set, err}
	}()
	queued(t, client, name, 2)
	var others []<-chan *lock.Lock
	for i := range 3 {
		others = append(others, acquiring(t, lock.New(open(t, client), name)))
		queued(t, client, name, 3+i)
	}
	deleteKey(t, client, lineOf(t, client, name)[1]) // the set's: it queues again, at the back
	queued(t, client, name, 5)
	release(t, l)
	for _, o := range others {
		release(t, <-o)
	}
	r := <-got
	if r.err != nil {
		t.Fatal(r.err)
	}
	if err := r.set.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestFreeLockIsNotFull(t *testing.T) {
	t.Parallel()
	client := etcdtest.Shared(t).Client(t)
	s := open(t, client)
	for range 20 {
		name := etcdtest.Name(t)
		for kind, acquire := range map[string]func(context.Context) (*lock.Lock, error){
			"mutex":  lock.New(s, name, lock.WithMaxWaiters(1)).Acquire,
			"writer": lock.NewRW(s, name, lock.WithMaxWaiters(1)).AcquireWrite,
		} {
			var wg sync.WaitGroup
			for range 2 { // one holds, and one waits
				wg.Go(func() {
					l, err := acquire(t.Context())
					if err != nil {
						t.Errorf("%s: %v", kind, err)
						return
					}
					release(t, l)
				})
			}
			wg.Wait()
		}
	}
}

func TestOptionThatAnRWMutexWouldIgnoreDoesNotCompile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		option lock.Option
		rw     bool
	}{
		"WithPrefix":        {lock.WithPrefix("x"), true},
		"WithHandoffs":      {lock.WithHandoffs(1), true},
		"WithMaxWaiters":    {lock.WithMaxWaiters(1), true},
		"WithMinHold":       {lock.WithMinHold(1), true},
		"WithTakeoverDelay": {lock.WithTakeoverDelay(1), true},
		"WithLinger":        {lock.WithLinger(1), false},
	} {
		if _, ok := c.option.(lock.RWOption); ok != c.rw {
			t.Errorf("%s: NewRW takes it: %v, want %v", name, ok, c.rw)
		}
	}
}
