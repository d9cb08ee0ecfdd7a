package lock_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

// verb is one of the four ways into a read-write lock.
type verb func(context.Context) (*lock.Lock, error)

// get calls a verb that has to succeed within ten seconds.
func get(t testing.TB, v verb) *lock.Lock {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	l, err := v(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// getting calls a verb in a goroutine.
func getting(t testing.TB, v verb) <-chan *lock.Lock {
	got := make(chan *lock.Lock, 1)
	go func() {
		l, err := v(t.Context())
		if err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
		got <- l
	}()
	return got
}

func rwLine(t testing.TB, client *clientv3.Client, name string) []string {
	return etcdtest.Keys(t, client, "fenceline/rwlock/"+name+"/")
}

func rwQueued(t testing.TB, client *clientv3.Client, name string, n int) {
	t.Helper()
	etcdtest.Eventually(t, 5*time.Second, "entries in line", func() bool { return len(rwLine(t, client, name)) == n })
}

// rws are n processes with one read-write lock.
func rws(t testing.TB, n int, opts ...lock.RWOption) (*clientv3.Client, string, []*lock.RWMutex) {
	t.Helper()
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	var ms []*lock.RWMutex
	for range n {
		ms = append(ms, lock.NewRW(open(t, client), name, opts...))
	}
	return client, name, ms
}

func TestReadersHoldTogetherAndAWriterAlone(t *testing.T) {
	client, name, m := rws(t, 3)
	first, second := get(t, m[0].AcquireRead), get(t, m[1].AcquireRead)
	writer := getting(t, m[2].AcquireWrite)
	rwQueued(t, client, name, 3)
	release(t, first)
	still(t, writer, "the writer")
	release(t, second)
	w := <-writer
	reader, other := getting(t, m[0].AcquireRead), getting(t, m[1].AcquireWrite)
	rwQueued(t, client, name, 3)
	still(t, reader, "a reader beside the writer")
	still(t, other, "a second writer")
	release(t, w)
	for range 2 {
		select {
		case l := <-reader:
			release(t, l)
		case l := <-other:
			release(t, l)
		case <-time.After(10 * time.Second):
			t.Fatal("nobody entered")
		}
	}
	rwQueued(t, client, name, 0)
}

func TestWaitingWriterHoldsBackLaterReaders(t *testing.T) {
	client, name, m := rws(t, 3)
	first := get(t, m[0].AcquireRead)
	writer := getting(t, m[1].AcquireWrite)
	rwQueued(t, client, name, 2)
	elsewhere := getting(t, m[2].AcquireRead)
	rwQueued(t, client, name, 3)
	here := getting(t, m[0].AcquireRead) // where a reader holds already
	still(t, elsewhere, "a reader elsewhere")
	still(t, here, "a reader beside the one who holds")
	if _, err := m[0].TryAcquireRead(t.Context()); !errors.Is(err, lock.ErrHeld) {
		t.Errorf("try: %v", err)
	}
	release(t, first)
	w := <-writer
	still(t, elsewhere, "a reader elsewhere")
	still(t, here, "a reader here")
	release(t, w)
	release(t, <-elsewhere)
	release(t, <-here)
	rwQueued(t, client, name, 0)
}

func TestWriterOfTheSameProcessHoldsBackLaterReadersEverywhere(t *testing.T) {
	client, name, m := rws(t, 2)
	first := get(t, m[0].AcquireRead)
	writer := getting(t, m[0].AcquireWrite)
	rwQueued(t, client, name, 2)
	here, elsewhere := getting(t, m[0].AcquireRead), getting(t, m[1].AcquireRead)
	rwQueued(t, client, name, 3)
	still(t, here, "a reader here")
	still(t, elsewhere, "a reader elsewhere")
	release(t, first)
	w := <-writer
	still(t, here, "a reader here")
	release(t, w)
	release(t, <-here)
	release(t, <-elsewhere)
}

func TestReadersNextToEachOtherEnterTogether(t *testing.T) {
	client, name, m := rws(t, 4)
	w := get(t, m[0].AcquireWrite)
	var readers []<-chan *lock.Lock
	for i := range 3 {
		readers = append(readers, getting(t, m[i+1].AcquireRead))
	}
	rwQueued(t, client, name, 4)
	release(t, w)
	for _, r := range readers {
		l := <-r // nobody has released before all are in
		defer release(t, l)
	}
}

func TestOverlappingReadersOfOneProcessShareAnEntry(t *testing.T) {
	client, name, m := rws(t, 1)
	first, second := get(t, m[0].AcquireRead), get(t, m[0].AcquireRead)
	if first.Key() != second.Key() || first.Token() >= second.Token() || len(rwLine(t, client, name)) != 1 {
		t.Errorf("%s and %s in %v", first.Key(), second.Key(), rwLine(t, client, name))
	}
	release(t, first)
	if context.Cause(first.Context()) == nil || context.Cause(second.Context()) != nil || len(rwLine(t, client, name)) != 1 {
		t.Error("one reader's release is not the other's")
	}
	third := get(t, m[0].AcquireRead)
	release(t, second)
	release(t, third)
	rwQueued(t, client, name, 0)
}

func TestSharedEntryLostIsLostForAllReaders(t *testing.T) {
	client := etcdtest.Shared(t).Client(t)
	s := open(t, client)
	m := lock.NewRW(s, etcdtest.Name(t))
	first, second := get(t, m.AcquireRead), get(t, m.AcquireRead)
	revoke(t, client, s)
	for _, l := range []*lock.Lock{first, second} {
		if err := ends(t, l, 10*time.Second); !errors.Is(err, session.ErrRevoked) {
			t.Errorf("%v", err)
		}
		if err := l.Release(t.Context()); !errors.Is(err, session.ErrLost) {
			t.Errorf("release: %v", err)
		}
	}
	release(t, get(t, m.AcquireWrite))
}

func TestTryOfAReadWriteLockNeverWaitsNorWrites(t *testing.T) {
	client, name, m := rws(t, 2)
	tries := func(i int, read, write error) {
		t.Helper()
		before := rwLine(t, client, name)
		for v, want := range map[*error]verb{&read: m[i].TryAcquireRead, &write: m[i].TryAcquireWrite} {
			l, err := want(t.Context())
			if !errors.Is(err, *v) {
				t.Errorf("process %d, want %v: %v", i, *v, err)
			}
			if err == nil {
				release(t, l)
			}
		}
		if after := rwLine(t, client, name); !slices.Equal(after, before) {
			t.Errorf("%v, before it was %v", after, before)
		}
	}
	tries(0, nil, nil)
	l := get(t, m[0].AcquireRead)
	tries(0, nil, lock.ErrHeld)
	tries(1, nil, lock.ErrHeld)
	release(t, l)
	l = get(t, m[0].AcquireWrite)
	tries(0, lock.ErrHeld, lock.ErrHeld)
	tries(1, lock.ErrHeld, lock.ErrHeld)
	release(t, l)
	tries(1, nil, nil)
}

func TestMutexAndReadersOfOnePrefixStandInOneLine(t *testing.T) {
	client, prefix := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	rw := lock.NewRW(open(t, client), "rw", lock.WithPrefix(prefix))
	m := lock.New(open(t, client), "mutex", lock.WithPrefix(prefix))
	r := get(t, rw.AcquireRead)
	mutex := acquiring(t, m)
	inLine(t, client, prefix, 2)
	still(t, mutex, "the mutex")
	later := getting(t, rw.AcquireRead)
	still(t, later, "a reader behind the mutex")
	release(t, r)
	l := <-mutex
	still(t, later, "a reader behind the mutex")
	release(t, l)
	release(t, <-later)
}

// room is a place for one writer or many readers, and sees who breaks that.
type room struct{ readers, writers atomic.Int32 }

func (r *room) read(t *testing.T) func() {
	r.readers.Add(1)
	if r.writers.Load() != 0 {
		t.Error("a reader beside a writer")
	}
	return func() { r.readers.Add(-1) }
}

func (r *room) write(t *testing.T) func() {
	if r.writers.Add(1) != 1 || r.readers.Load() != 0 {
		t.Error("a writer beside others")
	}
	return func() { r.writers.Add(-1) }
}

func TestReadersAndWritersNeverOverlapWhateverTheyDo(t *testing.T) {
	client, name, m := rws(t, 4)
	var inside room
	var turns atomic.Int64
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Second)
	defer stop()
	var wg sync.WaitGroup
	for i := range 8 {
		rw := m[i%len(m)]
		wg.Go(func() {
			for ctx.Err() == nil {
				patience, cancel := context.WithTimeout(ctx, time.Duration(rand.IntN(40))*time.Millisecond)
				var v verb
				writes := false
				if n := rand.IntN(5); n > 2 {
					v, writes = []verb{rw.AcquireWrite, rw.TryAcquireWrite}[n-3], true
				} else {
					v = []verb{rw.AcquireRead, rw.AcquireRead, rw.TryAcquireRead}[n]
				}
				l, err := v(patience)
				cancel()
				if err != nil {
					if patience.Err() == nil && !errors.Is(err, lock.ErrHeld) {
						t.Error(err)
					}
					continue
				}
				turns.Add(1)
				var out func()
				if writes {
					out = inside.write(t)
				} else {
					out = inside.read(t)
				}
				if writes && rand.IntN(3) == 0 {
					out()
					if err := rw.Downgrade(t.Context(), l); err != nil {
						t.Error(err)
					}
					out = inside.read(t)
				}
				out()
				if err := l.Release(context.Background()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if turns.Load() < 50 {
		t.Errorf("%d turns", turns.Load())
	}
	rwQueued(t, client, name, 0)
}
