package lock_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

// mutexes of one session, one for each letter.
func mutexes(s *session.Session, name, letters string) []*lock.Mutex {
	var ms []*lock.Mutex
	for _, r := range letters {
		ms = append(ms, lock.New(s, name+string(r)))
	}
	return ms
}

func all(t testing.TB, ms ...*lock.Mutex) *lock.Set {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s, err := lock.AcquireAll(ctx, ms...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func allOf(t testing.TB, ms ...*lock.Mutex) <-chan *lock.Set {
	got := make(chan *lock.Set, 1)
	go func() {
		s, err := lock.AcquireAll(t.Context(), ms...)
		if err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
		got <- s
	}()
	return got
}

func giveBack(t testing.TB, s *lock.Set) {
	t.Helper()
	if err := s.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestSetIsEnqueuedAndReleasedByOneProposalEach(t *testing.T) {
	etcd := etcdtest.Start(t)
	client, name := etcd.Client(t), etcdtest.Name(t)
	ms := mutexes(open(t, client), name, "abcd")
	proposals := func() int { return metric(t, etcd.Endpoint(), "etcd_server_proposals_committed_total") }
	before := proposals()
	s := all(t, ms...)
	enqueued := proposals()
	if got := enqueued - before; got != 1 {
		t.Errorf("enqueued by %d proposals", got)
	}
	for _, m := range ms {
		if got, want := s.Lock(m).Token(), s.Lock(ms[0]).Token(); got != want {
			t.Errorf("tokens %d and %d, of one revision", got, want)
		}
	}
	giveBack(t, s)
	if got := proposals() - enqueued; got != 1 {
		t.Errorf("released by %d proposals", got)
	}
	if left := etcdtest.Keys(t, client, "fenceline/lock/"); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestSetAndPlainAcquireStandInOneLine(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s := open(t, client)
	ms, other := mutexes(s, name, "ab"), mutexes(open(t, client), name, "ab")
	first := acquire(t, other[1])
	set := allOf(t, ms...)
	queued(t, client, name+"a", 1)
	elsewhere, here := acquiring(t, other[0]), acquiring(t, ms[0])
	queued(t, client, name+"a", 3)
	still(t, set, "the set")
	still(t, elsewhere, "an Acquire behind the set")
	still(t, here, "an Acquire of the same Session behind the set")
	release(t, first)
	held := <-set
	still(t, elsewhere, "an Acquire behind the set")
	still(t, here, "an Acquire of the same Session behind the set")
	giveBack(t, held)
	for range 2 {
		select {
		case l := <-elsewhere:
			release(t, l)
		case l := <-here:
			release(t, l)
		}
	}
}

func TestGoroutinesOfOneSessionExcludeEachOthersSets(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	ms := mutexes(open(t, client), name, "abc")
	var inside atomic.Int32
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			for range 5 {
				s := all(t, ms[i%3], ms[(i+1)%3], ms[(i+2)%3])
				if inside.Add(1) != 1 {
					t.Error("two sets of the same locks")
				}
				inside.Add(-1)
				giveBack(t, s)
			}
		})
	}
	wg.Wait()
}

// Eight processes take random subsets of six locks: nobody waits for ever, nobody overlaps, and at each revision of
// etcd's history a set has all its entries or none.
func TestRandomSetsNeitherDeadlockNorOverlapNorComeApart(t *testing.T) {
	t.Parallel()
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	begin, err := client.Get(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	d := 10 * time.Second
	if testing.Short() {
		d = time.Second
	}
	ctx, stop := context.WithTimeout(t.Context(), d)
	defer stop()
	var inside [6]atomic.Int32
	var sets [8]int
	var wg sync.WaitGroup
	for i := range sets {
		ms := mutexes(open(t, client), name, "abcdef")
		wg.Go(func() {
			for ctx.Err() == nil {
				var subset []*lock.Mutex
				picked := rand.Perm(6)[:1+rand.IntN(6)]
				for _, j := range picked {
					subset = append(subset, ms[j])
				}
				patience, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				if rand.IntN(5) == 0 {
					cancel()
					patience, cancel = context.WithTimeout(t.Context(), time.Duration(rand.IntN(20))*time.Millisecond)
				}
				s, err := lock.AcquireAll(patience, subset...)
				cancel()
				if err != nil {
					if _, long := patience.Deadline(); long && patience.Err() == nil || !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("process %d: %v", i, err)
					}
					continue
				}
				for _, j := range picked {
					if inside[j].Add(1) != 1 {
						t.Errorf("two hold %c", 'a'+j)
					}
				}
				for _, j := range picked {
					inside[j].Add(-1)
				}
				if err := s.Release(context.Background()); err != nil {
					t.Error(err)
				}
				sets[i]++
			}
		})
	}
	wg.Wait()
	for i, n := range sets {
		if n == 0 {
			t.Errorf("process %d never had its set: %v", i, sets)
		}
	}
	whole(t, client, "fenceline/lock/"+name, begin.Header.Revision)
}

// whole reads the history of a prefix since revision: what one revision creates, one revision deletes.
func whole(t *testing.T, client *clientv3.Client, prefix string, since int64) {
	t.Helper()
	end, err := client.Put(t.Context(), prefix, "") // the last event to come
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	standing := map[string]int64{} // create revision
	size := map[int64]int{}        // entries of a set
	for resp := range client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(since+1), clientv3.WithFragment()) {
		if resp.Err() != nil {
			t.Fatal(resp.Err())
		}
		gone := map[[2]int64]int{} // by set and revision
		for _, ev := range resp.Events {
			key := string(ev.Kv.Key)
			switch {
			case ev.Kv.ModRevision == end.Header.Revision:
				for key, set := range standing {
					t.Errorf("%s of set %d was left behind", key, set)
				}
				return
			case ev.IsCreate():
				standing[key] = ev.Kv.CreateRevision
				size[ev.Kv.CreateRevision]++
			case ev.Type == clientv3.EventTypeDelete:
				gone[[2]int64{standing[key], ev.Kv.ModRevision}]++
				delete(standing, key)
			}
		}
		for at, n := range gone {
			if n != size[at[0]] {
				t.Errorf("%d of the %d entries of set %d went at revision %d", n, size[at[0]], at[0], at[1])
			}
		}
	}
	t.Fatal("the history has not been read to its end")
}

func TestSetThatLosesOneLockLosesAll(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	ms := mutexes(open(t, client), name, "abc")
	s := all(t, ms...)
	deleteKey(t, client, s.Lock(ms[1]).Key())
	etcdtest.Eventually(t, 10*time.Second, "the loss of one is noticed", func() bool { return s.Context().Err() != nil })
	if err := context.Cause(s.Context()); !errors.Is(err, session.ErrEntryGone) {
		t.Errorf("%v", err)
	}
	for _, m := range ms {
		if err := ends(t, s.Lock(m), time.Second); !errors.Is(err, session.ErrEntryGone) {
			t.Errorf("%v", err)
		}
	}
	if err := s.Release(t.Context()); !errors.Is(err, session.ErrLost) {
		t.Errorf("release: %v", err)
	}
	if err := s.Release(t.Context()); !errors.Is(err, session.ErrNotHeld) {
		t.Errorf("second release: %v", err)
	}
	giveBack(t, all(t, ms...)) // nothing of the lost one is in the way
}

func TestSetEndsWithItsLease(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s := open(t, client)
	set := all(t, mutexes(s, name, "abc")...)
	guard := set.Guard()
	if resp, err := client.Txn(t.Context()).If(guard...).Commit(); err != nil || !resp.Succeeded {
		t.Errorf("guard of a set that stands: %v, %v", resp.Succeeded, err)
	}
	revoke(t, client, s)
	select {
	case <-set.Context().Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the set is still held")
	}
	if err := context.Cause(set.Context()); !errors.Is(err, session.ErrRevoked) {
		t.Errorf("%v", err)
	}
	if resp, err := client.Txn(t.Context()).If(guard...).Commit(); err != nil || resp.Succeeded {
		t.Errorf("guard of a lost set: %v, %v", resp.Succeeded, err)
	}
}

func TestSetWhoseLeaseIsLostWhileItWaitsIsQueuedAgain(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	first := acquire(t, lock.New(open(t, client), name+"b"))
	s := open(t, client)
	set := allOf(t, mutexes(s, name, "ab")...)
	queued(t, client, name+"b", 2)
	before := lineOf(t, client, name+"a")
	revoke(t, client, s)
	etcdtest.Eventually(t, 10*time.Second, "new entries", func() bool {
		now := lineOf(t, client, name+"a")
		return len(now) == 1 && now[0] != before[0]
	})
	release(t, first)
	giveBack(t, <-set)
}

func TestCancelledSetLeavesNoEntry(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	first := acquire(t, lock.New(open(t, client), name+"c"))
	ms := mutexes(open(t, client), name, "abc")
	for i := range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*300*time.Microsecond)
		began := time.Now()
		if _, err := lock.AcquireAll(ctx, ms...); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		cancel()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %v to return", took)
		}
	}
	queued(t, client, name+"a", 0)
	queued(t, client, name+"b", 0)
	queued(t, client, name+"c", 1)
	release(t, first)
	giveBack(t, all(t, ms...))
}

func TestSetRefusesWhatCannotBe(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s := open(t, client)
	ms, other := mutexes(s, name, "abc"), mutexes(open(t, client), name, "abc")
	for what, c := range map[string]struct {
		ms   []*lock.Mutex
		text string
	}{
		"none":         {nil, "no locks"},
		"nil":          {[]*lock.Mutex{ms[0], nil}, "lock 1 is nil"},
		"twice":        {[]*lock.Mutex{ms[0], ms[1], ms[0]}, "the same lock"},
		"made again":   {[]*lock.Mutex{ms[0], lock.New(s, name+"a")}, "the same lock"},
		"two Sessions": {[]*lock.Mutex{ms[0], other[1]}, "two Sessions"},
	} {
		if _, err := lock.AcquireAll(t.Context(), c.ms...); !errors.Is(err, lock.ErrSet) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := lock.AcquireAll(t.Context(), ms[0], lock.New(s, "")); !errors.Is(err, session.ErrInvalidName) {
		t.Errorf("an invalid name: %v", err)
	}
	set := all(t, ms[0])
	if set.Lock(other[0]) != nil || set.Lock(nil) != nil {
		t.Error("a lock that is not in the set")
	}
	if err := set.Lock(ms[0]).Release(t.Context()); err == nil || !strings.Contains(err.Error(), "as a whole") {
		t.Errorf("release of one: %v", err)
	}
	giveBack(t, set)
}

func TestSetOfAsManyLocksAsEtcdAllowsAndOneMore(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s := open(t, client)
	var ms []*lock.Mutex
	for i := range 128 {
		ms = append(ms, lock.New(s, fmt.Sprint(name, i)))
	}
	giveBack(t, all(t, ms[:64]...))
	giveBack(t, all(t, ms[:127]...))
	if _, err := lock.AcquireAll(t.Context(), ms...); err == nil || !strings.Contains(err.Error(), "128 locks at once") {
		t.Errorf("%v", err)
	}
}

func TestSetKeepsToMaxWaiters(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	holder, waiter := open(t, client), open(t, client)
	h := acquire(t, lock.New(holder, name+"b"))
	w := acquiring(t, lock.New(waiter, name+"b"))
	queued(t, client, name+"b", 2)
	s := open(t, client)
	_, err := lock.AcquireAll(t.Context(), lock.New(s, name+"a"), lock.New(s, name+"b", lock.WithMaxWaiters(1)))
	if !errors.Is(err, lock.ErrQueueFull) {
		t.Errorf("%v", err)
	}
	queued(t, client, name+"a", 0)
	queued(t, client, name+"b", 2)
	release(t, h)
	release(t, <-w)
}
