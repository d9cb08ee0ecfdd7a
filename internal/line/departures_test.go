package line

import (
	"context"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/internal/queue"
)

func withRoomForTwo(r *Ref) *Ref {
	r.Policy = roomForTwo
	r.Policy.Beside, r.Policy.Dir = "", ""
	return r
}

func deafTo(t *testing.T, r *Ref) {
	t.Helper()
	etcdtest.Eventually(t, 5*time.Second, "a watch of who leaves", func() bool {
		return r.look(func(l *Line) bool {
			return l.m.tracks[0].view != nil && l.m.tracks[0].view.deaf() && l.m.tracks[0].view.ready
		})
	})
}

func TestViewOfDeparturesTakesUpWhatAnAnswerLists(t *testing.T) {
	v := &view{target: target{key: "line/", end: "line0", deletes: true}, rev: 10, departed: map[string]int64{}}
	v.apply([]*mvccpb.Event{del("line/a", 12)}) // before the answer, which knows
	v.apply([]*mvccpb.Event{del("line/b", 31)}) // after it, and heard of before it came
	v.adopt(30, []queue.Entry{at("limit", 1), at("line/b", 20), at("line/c", 21), at("line/a", 25)}, at("line/m", 30))
	if len(v.entries) != 3 || v.entries[0].Key != "line/m" || v.entries[1].Key != "line/c" || v.entries[2].Key != "line/a" || v.rev != 31 {
		t.Errorf("at %d: %+v", v.rev, v.entries)
	}
	v.adopt(40, []queue.Entry{at("line/c", 21)}, at("line/n", 40))
	v.apply([]*mvccpb.Event{del("line/c", 35)}) // an earlier one of that name, which the answer knows to have gone
	if len(v.entries) != 2 || v.rev != 40 {
		t.Errorf("at %d: %+v", v.rev, v.entries)
	}
	v.apply([]*mvccpb.Event{del("line/c", 41)})
	if len(v.entries) != 1 || v.rev != 41 {
		t.Errorf("at %d: %+v", v.rev, v.entries)
	}
}

func TestWaiterOnAWarmWatchOfDeparturesHearsOfEachOfThem(t *testing.T) {
	m, name, opts := etcdtest.Shared(t), etcdtest.Name(t), &Options{}
	a, b, c := withRoomForTwo(ref(t, m, name)), withRoomForTwo(ref(t, m, name)), withRoomForTwo(ref(t, m, name))
	for i := range 20 { // each time the other of the two leaves
		first, second := mustAcquire(t, a, opts), mustAcquire(t, b, opts)
		holds := c.start(t, 1, opts)
		deafTo(t, c)
		if i%2 == 1 {
			first, second = second, first
		}
		mustRelease(t, first)
		mustRelease(t, <-holds)
		mustRelease(t, second)
	}
}

func TestWaiterWhoseEnqueueWentUnansweredLearnsWhoIsAhead(t *testing.T) {
	opts := &Options{}
	c, kv, _ := late(t, etcdtest.Name(t))
	withRoomForTwo(c)
	m := etcdtest.Shared(t)
	a, b := withRoomForTwo(ref(t, m, c.Name)), withRoomForTwo(ref(t, m, c.Name))
	for range 2 { // the second time on a watch that is open already
		first, second := mustAcquire(t, a, opts), mustAcquire(t, b, opts)
		kv.next(1, true)
		holds := c.start(t, 1, opts)
		deafTo(t, c)
		var stood int64
		etcdtest.Eventually(t, 5*time.Second, "the entry known to stand", func() bool {
			return c.look(func(l *Line) bool {
				if l.m.attempt.stage != queued {
					return false
				}
				stood = l.m.attempt.spots[0].entry.Create
				return true
			})
		})
		mustRelease(t, second)
		h := <-holds
		if h.attempt.spots[0].entry.Create != stood {
			t.Error("it has lost its place")
		}
		mustRelease(t, h)
		mustRelease(t, first)
	}
}

// What a view of departures lists may be of an earlier entry: then it says nothing of this one.
func TestHoldThatTheViewDoesNotListIsNotLostWithTheNextDeparture(t *testing.T) {
	opts := &Options{}
	c, kv, client := late(t, etcdtest.Name(t))
	withRoomForTwo(c)
	m := etcdtest.Shared(t)
	a, b := withRoomForTwo(ref(t, m, c.Name)), withRoomForTwo(ref(t, m, c.Name))
	first, second := mustAcquire(t, a, opts), mustAcquire(t, b, opts)
	holds := c.start(t, 1, opts)
	deafTo(t, c)
	mustRelease(t, second)
	mustRelease(t, <-holds)
	mustRelease(t, first)
	for range 5 {
		kv.next(1, true) // so that it does not hear who is ahead, and has to look
		h := mustAcquire(t, c, opts)
		mustRelease(t, mustAcquire(t, a, opts))
		now := revision(t, client)
		if !c.look(func(l *Line) bool { return l.m.tracks[0].view != nil && l.m.tracks[0].view.deaf() }) {
			t.Fatal("its watch is closed")
		}
		etcdtest.Eventually(t, 5*time.Second, "the departure to be heard of", func() bool {
			return c.look(func(l *Line) bool { return l.m.tracks[0].view == nil || l.m.tracks[0].view.rev >= now })
		})
		mustRelease(t, h)
	}
}

func TestWaiterInALineThatWasOnlyCountedLearnsWhoIsAhead(t *testing.T) {
	m, opts := etcdtest.Shared(t), &Options{}
	client := m.Client(t)
	c := withRoomForTwo(ref(t, m, etcdtest.Name(t)))
	strangers(t, client, c.Prefix, 3)
	holds := c.start(t, 1, opts)
	deafTo(t, c)
	c.look(func(l *Line) bool { l.m.tracks[0].length = longLine + 1; return true }) // so that the next one only counts
	for range 2 {
		if _, err := client.Delete(t.Context(), c.Prefix+"x", clientv3.WithPrefix()); err != nil {
			t.Fatal(err)
		}
		h := <-holds
		strangers(t, client, c.Prefix, 3)
		mustRelease(t, h)
		holds = c.start(t, 1, opts)
	}
	if _, err := client.Delete(t.Context(), c.Prefix+"x", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	mustRelease(t, <-holds)
}

// An answer that was sent before the list of a view was read names those who had left before its watch was there.
func TestAnswerThatIsOlderThanTheListNamesNobodyWhoHasLeft(t *testing.T) {
	v := &view{target: target{key: "line/", end: "line0", deletes: true}, rev: 35, since: 35, departed: map[string]int64{},
		entries: []queue.Entry{at("line/c", 21), at("line/m", 30)}}
	v.apply([]*mvccpb.Event{del("line/c", 36)})
	v.adopt(30, []queue.Entry{at("line/b", 20), at("line/c", 21)}, at("line/m", 30))
	if !v.tells(at("line/m", 30)) || len(v.entries) != 1 || v.entries[0].Key != "line/m" || v.rev != 36 {
		t.Errorf("at %d: %+v", v.rev, v.entries)
	}
}

// slowKV holds back reads before they are sent, and transactions before they are answered, while a test says so.
type slowKV struct {
	clientv3.KV
	reads, answers sync.RWMutex
}

func (kv *slowKV) Do(ctx context.Context, op clientv3.Op) (clientv3.OpResponse, error) {
	kv.reads.RLock()
	defer kv.reads.RUnlock()
	return kv.KV.Do(ctx, op)
}

func (kv *slowKV) Txn(ctx context.Context) clientv3.Txn {
	return etcdtest.Around(kv.KV.Txn(ctx), kv.commit)
}

func (kv *slowKV) commit(txn clientv3.Txn) (*clientv3.TxnResponse, error) {
	resp, err := txn.Commit()
	kv.answers.RLock()
	defer kv.answers.RUnlock()
	return resp, err
}

func TestWaiterHearsOfOneWhoLeftBeforeItsWatchAndBeforeItsAnswer(t *testing.T) {
	m, name, opts := etcdtest.Shared(t), etcdtest.Name(t), &Options{}
	client := m.Client(t)
	kv := &slowKV{KV: client.KV}
	client.KV = kv
	a, b, c := withRoomForTwo(ref(t, m, name)), withRoomForTwo(ref(t, m, name)), withRoomForTwo(refOn(t, client, name))
	first, second := mustAcquire(t, a, opts), mustAcquire(t, b, opts)

	kv.reads.Lock() // the list of the view
	ctx, cancel := context.WithCancel(t.Context())
	gaveUp := make(chan error, 1)
	go func() {
		_, err := c.Acquire(ctx, opts, false)
		gaveUp <- err
	}()
	etcdtest.Eventually(t, 5*time.Second, "a view", func() bool {
		return c.look(func(l *Line) bool { return l.m.tracks[0].view != nil && l.m.tracks[0].view.deaf() })
	})
	cancel()
	<-gaveUp
	c.idle(t)
	kv.answers.Lock()
	holds := c.start(t, 1, opts)
	etcdtest.Eventually(t, 5*time.Second, "the next entry", func() bool { return len(etcdtest.Keys(t, m.Client(t), c.Prefix)) == 3 })
	mustRelease(t, second)
	kv.reads.Unlock()
	deafTo(t, c)
	kv.answers.Unlock()
	select {
	case h := <-holds:
		mustRelease(t, h)
	case <-time.After(3 * time.Second): // the slow look comes later
		t.Error("it waits for one who has left")
		mustRelease(t, <-holds)
	}
	mustRelease(t, first)
}
