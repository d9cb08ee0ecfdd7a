package lock_test

import (
	"context"
	"errors"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

// ends waits for a hold's Context to end and returns its cause.
func ends(t testing.TB, l *lock.Lock, within time.Duration) error {
	t.Helper()
	select {
	case <-l.Context().Done():
		return context.Cause(l.Context())
	case <-time.After(within):
		t.Fatalf("the hold's Context has not ended within %v", within)
		return nil
	}
}

func revoke(t testing.TB, client *clientv3.Client, s *session.Session) {
	t.Helper()
	if _, err := client.Revoke(t.Context(), s.Lease()); err != nil {
		t.Fatal(err)
	}
}

func deleteKey(t testing.TB, client *clientv3.Client, key string) {
	t.Helper()
	resp, err := client.Delete(t.Context(), key)
	if err != nil || resp.Deleted != 1 {
		t.Fatalf("delete %q: %v, %v", key, resp, err)
	}
}

func TestWaiterWhoseLeaseIsRevokedQueuesAgainAtTheBack(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	sb := open(t, client)
	a, b, c := lock.New(open(t, client), name), lock.New(sb, name), lock.New(open(t, client), name)
	la := acquire(t, a)
	gotB := acquiring(t, b)
	queued(t, client, name, 2)
	gotC := acquiring(t, c)
	queued(t, client, name, 3)

	revoke(t, client, sb)
	etcdtest.Eventually(t, 5*time.Second, "the waiter at the back, under its next lease", func() bool {
		keys := lineOf(t, client, name)
		return len(keys) == 3 && sb.Lease() != clientv3.NoLease && keys[2] == "fenceline/lock/"+name+"/"+hex(sb.Lease())
	})
	release(t, la)
	lc := <-gotC
	select {
	case <-gotB:
		t.Fatal("the waiter that lost its place was granted before the one behind it")
	default:
	}
	tokenC := lc.Token()
	release(t, lc)
	lb := <-gotB
	if lb.Token() <= tokenC {
		t.Errorf("token %d after %d", lb.Token(), tokenC)
	}
	release(t, lb)
}

func TestWaiterWhoseEntryIsDeletedQueuesAgainAndIsNeverGrantedWithoutOne(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	a, b := lock.New(open(t, client), name), lock.New(open(t, client), name)
	la := acquire(t, a)
	gotB := acquiring(t, b)
	queued(t, client, name, 2)
	first := lineOf(t, client, name)[1]
	deleteKey(t, client, first)
	queued(t, client, name, 2)
	release(t, la)
	lb := <-gotB
	resp, err := client.Get(t.Context(), lb.Key())
	if err != nil || len(resp.Kvs) != 1 || resp.Kvs[0].CreateRevision != lb.Token().Revision() {
		t.Fatalf("granted without an entry of its own: %v, %v", resp, err)
	}
	release(t, lb)
}

// The one after the deleted waiter is nearest to the fault: its predecessor vanishes without having held.
func TestDeletedWaiterInTheMiddleLetsNobodyInEarly(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	var got []<-chan *lock.Lock
	la := acquire(t, lock.New(open(t, client), name))
	const n = 8 // some watch the whole line, some their predecessor
	for i := range n {
		got = append(got, acquiring(t, lock.New(open(t, client), name)))
		queued(t, client, name, 2+i)
	}
	for _, key := range lineOf(t, client, name)[1 : n/2+1] {
		deleteKey(t, client, key)
	}
	for i, c := range got {
		select {
		case <-c:
			t.Fatalf("waiter %d got in while another held", i)
		default:
		}
	}
	release(t, la)
	for _, c := range got[n/2:] { // those who kept their place, in order
		release(t, <-c)
	}
	again := make(chan *lock.Lock) // the others queue again in any order
	for _, c := range got[:n/2] {
		go func() { again <- <-c }()
	}
	for range n / 2 {
		release(t, <-again)
	}
}

func TestRevokedHolderIsToldWithinOneRenewal(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s := open(t, client, session.WithTTL(6*time.Second))
	l := acquire(t, lock.New(s, name))
	revoke(t, client, s)
	if err := ends(t, l, 2*time.Second+500*time.Millisecond); !errors.Is(err, session.ErrRevoked) || !errors.Is(err, session.ErrLost) {
		t.Fatalf("cause: %v", err)
	}
}

func TestRevokedHolderThatWatchesItsEntryIsToldAtOnce(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s := open(t, client)
	l := acquire(t, lock.New(s, name))
	_ = acquiring(t, lock.New(s, name)) // a waiter here makes the line watch
	watching(t, client, "fenceline/lock/"+name+"/")
	revoke(t, client, s)
	if err := ends(t, l, time.Second); !errors.Is(err, session.ErrRevoked) {
		t.Fatalf("cause: %v", err)
	}
}

func TestHolderIsToldWhenItsEntryIsDeletedOrOverwritten(t *testing.T) {
	for fault, do := range map[string]func(t *testing.T, c *clientv3.Client, key string){
		"deleted": func(t *testing.T, c *clientv3.Client, key string) { deleteKey(t, c, key) },
		"overwritten": func(t *testing.T, c *clientv3.Client, key string) {
			if _, err := c.Put(t.Context(), key, "mine"); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
			m := lock.New(open(t, client), name)
			l := acquire(t, m)
			ctx := l.Context()
			select { // the promise begins after the first second
			case <-ctx.Done():
				t.Fatal(context.Cause(ctx))
			case <-time.After(1200 * time.Millisecond):
			}
			do(t, client, l.Key())
			if err := ends(t, l, time.Second); !errors.Is(err, session.ErrEntryGone) || !errors.Is(err, session.ErrLost) {
				t.Fatalf("cause: %v", err)
			}
			if err := l.Release(t.Context()); !errors.Is(err, session.ErrEntryGone) {
				t.Fatalf("Release: %v", err)
			}
			if fault == "overwritten" { // by an entry that is nobody's: it is ahead of all until somebody removes it
				deleteKey(t, client, l.Key())
			}
			release(t, acquire(t, m))
		})
	}
}

// vanishes answers when key is deleted from etcd, as a client sees it that is not cut off.
func vanishes(t testing.TB, client *clientv3.Client, key string) <-chan time.Time {
	at := make(chan time.Time, 1)
	ctx := clientv3.WithRequireLeader(t.Context())
	ready := make(chan struct{})
	go func() {
		first := true
		for resp := range client.Watch(ctx, key, clientv3.WithCreatedNotify()) {
			if first {
				close(ready)
				first = false
			}
			for _, ev := range resp.Events {
				if ev.Type == clientv3.EventTypeDelete {
					at <- time.Now()
					return
				}
			}
		}
	}()
	<-ready
	return at
}

func TestHoldEndsBeforeEtcdGivesTheNameAway(t *testing.T) {
	for fault, do := range map[string]func(p *etcdtest.Proxy){
		"connection cut":       func(p *etcdtest.Proxy) { p.Cut() },
		"everything swallowed": func(p *etcdtest.Proxy) { p.Blackhole() },
		"answers lost":         func(p *etcdtest.Proxy) { p.DropAnswers() },
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			m := etcdtest.Shared(t)
			direct, name := m.Client(t), etcdtest.Name(t)
			p := etcdtest.NewProxy(t, m)
			l := acquire(t, lock.New(open(t, p.Client(t), session.WithTTL(2*time.Second)), name))
			given := vanishes(t, direct, l.Key())
			if fault == "answers lost" {
				// A renewal whose answer is lost still extends the lease in etcd: the hold is lost all the same, and early.
				defer p.Heal()
			}
			do(p)
			err := ends(t, l, 3*time.Second)
			at := time.Now()
			if !errors.Is(err, session.ErrExpired) {
				t.Errorf("cause: %v", err)
			}
			if fault == "answers lost" {
				return
			}
			select {
			case gone := <-given:
				if gone.Before(at) {
					t.Errorf("etcd gave the name away %v before the hold ended", at.Sub(gone))
				}
			case <-time.After(10 * time.Second):
				t.Error("the entry of a lost lease is still there")
			}
			p.Heal()
		})
	}
}

func TestHoldEndsWhileEtcdIsStopped(t *testing.T) {
	t.Parallel()
	m := etcdtest.Start(t)
	name := etcdtest.Name(t)
	const ttl = 2 * time.Second
	s := open(t, m.Client(t), session.WithTTL(ttl))
	l := acquire(t, lock.New(s, name))
	deadline := l.Deadline()
	m.Stop(t)
	stopped := time.Now()
	err := ends(t, l, ttl)
	if at := time.Now(); at.After(stopped.Add(ttl)) || !errors.Is(err, session.ErrExpired) {
		t.Errorf("ended with %v after %v; deadline was %v after the stop", err, at.Sub(stopped), deadline.Sub(stopped))
	}
	m.Continue(t)
	release(t, acquire(t, lock.New(s, name)))
}

func TestReleaseAfterLossIsErrLostAndDeletesNothingOfTheNextHolder(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s := open(t, client)
	l := acquire(t, lock.New(s, name))
	key := l.Key()
	deleteKey(t, client, key)
	// The same key, under the same lease: as like our own entry as a stranger can make it.
	if _, err := client.Put(t.Context(), key, "", clientv3.WithLease(s.Lease())); err != nil {
		t.Fatal(err)
	}
	if err := l.Release(t.Context()); !errors.Is(err, session.ErrLost) {
		t.Errorf("Release after loss: %v", err)
	}
	if keys := lineOf(t, client, name); len(keys) != 1 || keys[0] != key {
		t.Errorf("the next holder's entry: %q", keys)
	}
	if err := l.Release(t.Context()); !errors.Is(err, session.ErrNotHeld) {
		t.Errorf("second Release: %v", err)
	}
}

func TestSecondReleaseIsErrNotHeld(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	l := acquire(t, lock.New(open(t, client), name))
	release(t, l)
	if err := l.Release(t.Context()); !errors.Is(err, session.ErrNotHeld) {
		t.Fatalf("second Release: %v", err)
	}
}

func TestReleaseWithACancelledContextStillReleases(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	l := acquire(t, lock.New(open(t, client), name))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Release(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	queued(t, client, name, 0)
}

func TestReleaseWhileEtcdIsAwayEndsWithItsContext(t *testing.T) {
	t.Parallel()
	m := etcdtest.Shared(t)
	p, name := etcdtest.NewProxy(t, m), etcdtest.Name(t)
	l := acquire(t, lock.New(open(t, p.Client(t)), name))
	p.Blackhole()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := l.Release(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Release: %v", err)
	}
	p.Heal()
	queued(t, m.Client(t), name, 0)
}

func TestGuardHoldsWhileTheHoldDoesAndNotAfter(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	for kind, opts := range map[string][]lock.Option{"plain": nil, "lingering": {lock.WithLinger(time.Minute)}} {
		m := lock.New(open(t, client), name+kind, opts...)
		l := acquire(t, m)
		write := func(guard []clientv3.Cmp) bool {
			resp, err := client.Txn(t.Context()).If(guard...).Then(clientv3.OpPut(name, kind)).Commit()
			if err != nil {
				t.Fatal(err)
			}
			return resp.Succeeded
		}
		guard := l.Guard()
		if !write(guard) {
			t.Errorf("%s: guard of a standing hold refused", kind)
		}
		release(t, l)
		if write(guard) {
			t.Errorf("%s: guard of a released hold accepted", kind)
		}
		blind := acquire(t, m)
		release(t, blind)
		if write(blind.Guard()) || blind.Key() != "" {
			t.Errorf("%s: a hold that was released unseen has a guard or a key", kind)
		}
	}
}
