package lock_test

import (
	"context"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/fence"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
)

func TestEachGrantHasATokenOfItsOwnKnownForEver(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	m := lock.New(open(t, client), name, lock.WithLinger(time.Hour))
	var locks []*lock.Lock
	for range 3 { // one after the other, of one entry; each asked only after all have gone
		locks = append(locks, acquire(t, m))
		release(t, locks[len(locks)-1])
	}
	other := acquire(t, lock.New(open(t, client), name))
	defer release(t, other)
	for i, l := range locks {
		if token := l.Token(); token.Turn() != i || token.Revision() != locks[0].Token().Revision() || token >= other.Token() {
			t.Errorf("grant %d: revision %d, turn %d; the next process has %d", i, token.Revision(), token.Turn(), other.Token().Revision())
		}
	}
}

func TestLookingAtTheTokenKeepsTheHandOffLocal(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s := open(t, client)
	m := lock.New(s, name)
	first := acquire(t, m)
	next := make(chan *lock.Lock, 1)
	go func() {
		l, err := m.Acquire(t.Context())
		if err != nil {
			t.Error(err)
		}
		next <- l
	}()
	waiting(t, s, name)
	token := first.Token()
	release(t, first)
	second := <-next
	defer release(t, second)
	if second.Token() != token+1 {
		t.Errorf("token %d:%d after %d:%d", second.Token().Revision(), second.Token().Turn(), token.Revision(), token.Turn())
	}
}

// An entry has 4096 tokens. Whoever comes then, waiting or trying, gets a new entry.
func TestEntryWhoseTurnsAreUsedUpIsSwappedBeforeTheNextGrant(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	mutex := lock.New(open(t, client), name, lock.WithLinger(time.Hour))
	for what, take := range map[string]func(context.Context) (*lock.Lock, error){"Acquire": mutex.Acquire, "TryAcquire": mutex.TryAcquire} {
		t.Run(what, func(t *testing.T) {
			revisions := map[int64]int{}
			var last fence.Token
			for i := range fence.Turns + 10 {
				l, err := take(t.Context())
				if err != nil {
					t.Fatalf("grant %d: %v", i, err)
				}
				if token := l.Token(); token <= last {
					t.Fatalf("grant %d: token %d:%d after %d:%d", i, token.Revision(), token.Turn(), last.Revision(), last.Turn())
				}
				last = l.Token()
				revisions[last.Revision()]++
				release(t, l)
			}
			if len(revisions) != 2 || revisions[last.Revision()] == fence.Turns {
				t.Errorf("grants by entry: %v", revisions)
			}
		})
	}
}

// Readers who are let in beside each other without end cannot be kept waiting for a new entry, nor can it be had.
func TestReadersBeyondTheTurnsOfTheirEntryShareTheLastToken(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	rw := lock.NewRW(open(t, client), name)
	stays := get(t, rw.AcquireRead)
	var last fence.Token
	for range fence.Turns + 10 {
		l := get(t, rw.TryAcquireRead)
		if l.Token() < last || l.Token().Revision() != stays.Token().Revision() {
			t.Fatalf("token %d:%d after %d:%d", l.Token().Revision(), l.Token().Turn(), last.Revision(), last.Turn())
		}
		last = l.Token()
		release(t, l)
	}
	release(t, stays)
	w := get(t, rw.AcquireWrite)
	if w.Token() <= last {
		t.Errorf("a writer's token %d after a reader's %d", w.Token(), last)
	}
	release(t, w)
}

// 64 goroutines in each of 4 sessions, with local hand-offs: a resource elsewhere never sees an old token, a counter that is written by token
// in etcd never goes back, and two never have one token.
func TestTokensOfManyGoroutinesOfManyProcessesGrow(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	client := m.Client(t)
	var gate fence.Gate
	var mu sync.Mutex
	seen := map[fence.Token]bool{}
	var all sync.WaitGroup
	for range 4 {
		mutex := lock.New(open(t, m.Client(t)), name)
		for range 64 {
			all.Go(func() {
				for range 20 {
					l, err := mutex.Acquire(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					token := l.Token()
					if err := gate.Do(name, token, func() error { return nil }); err != nil {
						t.Error(err)
					}
					mu.Lock()
					if seen[token] {
						t.Errorf("token %d is given twice", token)
					}
					seen[token] = true
					if len(seen)%50 == 0 { // a write of its own is slow, and its guard exposes the entry: now and then
						count(t, client, name+"-counter", l)
					}
					mu.Unlock()
					if err := l.Release(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	all.Wait()
	if len(seen) != 4*64*20 {
		t.Errorf("%d tokens", len(seen))
	}
}

// count writes the token to a counter in etcd, under the hold's guard.
func count(t *testing.T, client *clientv3.Client, key string, l *lock.Lock) {
	resp, err := client.Txn(t.Context()).If(l.Guard()...).Then(clientv3.OpPut(key, l.Token().String(), clientv3.WithPrevKV())).Commit()
	if err != nil || !resp.Succeeded {
		t.Errorf("counter: %v, %v", resp, err)
		return
	}
	if before := resp.Responses[0].GetResponsePut().PrevKv; before != nil {
		if token, err := fence.Parse(string(before.Value)); err != nil || token >= l.Token() {
			t.Errorf("the counter was at %s, and %d comes after it: %v", before.Value, l.Token(), err)
		}
	}
}
