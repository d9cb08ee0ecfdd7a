package concurrency_test

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	theirs "go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/fenceline/fenceline/compat/concurrency"
	"github.com/fenceline/fenceline/fencetest"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inBubble runs f with an etcd in memory, whose time is virtual.
func inBubble(t *testing.T, f func(t *testing.T, etcd *fencetest.Etcd)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, fencetest.Start(t)) })
}

func open(t *testing.T, client *clientv3.Client, opts ...concurrency.SessionOption) *concurrency.Session {
	t.Helper()
	s, err := concurrency.NewSession(client, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// soon is f's result, which has to come within five seconds.
func soon[T any](t *testing.T, f func() T) T {
	t.Helper()
	done := make(chan T, 1)
	go func() { done <- f() }()
	select {
	case v := <-done:
		return v
	case <-time.After(5 * time.Second):
		t.Fatal("nothing after 5 s")
		panic("unreachable")
	}
}

func keys(t *testing.T, client *clientv3.Client, prefix string) int64 {
	t.Helper()
	resp, err := client.Get(t.Context(), prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	must(t, err)
	return resp.Count
}

func TestOursAndTheirsStandInOneLine(t *testing.T) {
	t.Parallel()
	client, pfx := etcdtest.Shared(t).Client(t), "/raw/"+etcdtest.Name(t)
	var inside atomic.Int32
	var all errgroup.Group
	for i := range 6 {
		type locks interface {
			Lock(context.Context) error
			Unlock(context.Context) error
		}
		var m locks = concurrency.NewMutex(open(t, client), pfx)
		if i%2 == 1 {
			s, err := theirs.NewSession(client)
			must(t, err)
			t.Cleanup(func() { _ = s.Close() })
			m = theirs.NewMutex(s, pfx)
		}
		all.Go(func() error {
			for range 10 {
				if err := m.Lock(t.Context()); err != nil {
					return err
				}
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d are inside", n)
				}
				inside.Add(-1)
				if err := m.Unlock(t.Context()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	must(t, all.Wait())
	if n := keys(t, client, pfx); n != 0 {
		t.Errorf("%d keys are left", n)
	}
}

func TestGoroutinesOfOneSessionExcludeEachOther(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		s := open(t, etcd.Client(t))
		first, second := concurrency.NewMutex(s, "x"), concurrency.NewMutex(s, "x")
		must(t, first.Lock(t.Context()))
		if err := second.TryLock(t.Context()); !errors.Is(err, concurrency.ErrLocked) {
			t.Errorf("a second Mutex of the session: %v", err)
		}
		if first.Key() == "" || second.Key() != "" {
			t.Errorf("keys %q and %q", first.Key(), second.Key())
		}
		resp, err := s.Client().Txn(t.Context()).If(second.IsOwner()).Commit()
		if err != nil || resp.Succeeded {
			t.Errorf("one that never held is the owner: %v", err)
		}
		resp, err = s.Client().Txn(t.Context()).If(first.IsOwner()).Commit()
		if err != nil || !resp.Succeeded {
			t.Errorf("the holder is not the owner: %v", err)
		}
		if h := first.Header(); h == nil || h.Revision < first.Held().Token().Revision() || second.Header() != nil {
			t.Errorf("headers %v and %v", h, second.Header())
		}
		must(t, first.Unlock(t.Context()))
		if err := first.Unlock(t.Context()); !errors.Is(err, concurrency.ErrLockReleased) {
			t.Errorf("a second Unlock: %v", err)
		}
		must(t, second.TryLock(t.Context()))
	})
}

func TestLostLockIsTold(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		client := etcd.Client(t)
		s := open(t, client, concurrency.WithTTL(6))
		m := concurrency.NewMutex(s, "x")
		must(t, m.Lock(t.Context()))
		held := m.Held()
		waits := make(chan error, 1)
		go func() { waits <- concurrency.NewMutex(s, "x").Lock(t.Context()) }()
		synctest.Wait()
		_, err := client.Revoke(t.Context(), s.Lease())
		must(t, err)
		<-s.Done()
		<-s.Ctx().Done()
		<-held.Context().Done()
		if err := soon(t, func() error { return <-waits }); !errors.Is(err, concurrency.ErrSessionExpired) {
			t.Errorf("who waits: %v", err)
		}
		if err := m.Unlock(t.Context()); !errors.Is(err, concurrency.ErrSessionExpired) {
			t.Errorf("Unlock: %v", err)
		}
		if err := m.Lock(t.Context()); !errors.Is(err, concurrency.ErrSessionExpired) {
			t.Errorf("Lock: %v", err)
		}
		must(t, s.Close())
		time.Sleep(time.Minute)
		if n := len(etcd.Leases()); n != 0 {
			t.Errorf("the session that has ended has %d leases", n)
		}
	})
}

func TestWaitEndsWithItsSession(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		client := etcd.Client(t)
		must(t, concurrency.NewMutex(open(t, client), "x").Lock(t.Context()))
		s := open(t, client)
		waits := make(chan error, 2)
		go func() { waits <- concurrency.NewMutex(s, "x").Lock(t.Context()) }()
		go func() { waits <- concurrency.NewElection(s, "x").Campaign(t.Context(), "") }()
		synctest.Wait()
		must(t, s.Close())
		for range 2 {
			if err := soon(t, func() error { return <-waits }); !errors.Is(err, concurrency.ErrSessionExpired) {
				t.Error(err)
			}
		}
		must(t, s.Close())
	})
}

func TestEndOfAContextIsItsError(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		client := etcd.Client(t)
		must(t, concurrency.NewMutex(open(t, client), "x").Lock(t.Context()))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s := open(t, client)
		if err := concurrency.NewMutex(s, "x").Lock(ctx); err != context.DeadlineExceeded {
			t.Errorf("Lock: %v", err)
		}
		if err := concurrency.NewElection(s, "x").Campaign(ctx, ""); err != context.DeadlineExceeded {
			t.Errorf("Campaign: %v", err)
		}
		synctest.Wait()
		if n := keys(t, client, "x/"); n != 1 {
			t.Errorf("%d keys are in line, want the holder's", n)
		}
	})
}

func TestContextOfASessionEndsItAndLeavesItsLease(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), "key", "value"))
		s := open(t, etcd.Client(t), concurrency.WithContext(ctx))
		if s.Ctx().Value("key") != "value" {
			t.Error("the session's context lacks the values")
		}
		cancel()
		<-s.Done()
		synctest.Wait()
		if n := len(etcd.Leases()); n != 1 {
			t.Errorf("%d leases, want 1", n)
		}
		if err := s.Close(); !errors.Is(err, context.Canceled) {
			t.Errorf("Close: %v", err)
		}
		if _, err := concurrency.NewSession(etcd.Client(t), concurrency.WithContext(ctx)); err != context.Canceled {
			t.Errorf("NewSession with it: %v", err)
		}
	})
}

func TestClosedClientEndsTheSession(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		client := etcd.Client(t)
		s := open(t, client)
		must(t, client.Close())
		soon(t, func() struct{} { <-s.Done(); return struct{}{} })
	})
}

func TestWhatASessionHoldsGoesToTheNextOneOfItsLease(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		client := etcd.Client(t)
		first := open(t, client)
		m, e := concurrency.NewMutex(first, "lock"), concurrency.NewElection(first, "elect")
		must(t, m.Lock(t.Context()))
		must(t, e.Campaign(t.Context(), "a"))
		key, token, rev := m.Key(), m.Held().Token(), e.Rev()
		go concurrency.NewMutex(open(t, client), "lock").Lock(t.Context())
		synctest.Wait()
		first.Orphan()
		<-first.Done()

		next := open(t, client, concurrency.WithLease(first.Lease()))
		m2, e2 := concurrency.NewMutex(next, "lock"), concurrency.NewElection(next, "elect")
		must(t, soon(t, func() error { return m2.Lock(t.Context()) }))
		must(t, soon(t, func() error { return e2.Campaign(t.Context(), "b") }))
		if m2.Key() != key || m2.Held().Token() <= token || e2.Rev() != rev || e2.Term() == nil {
			t.Errorf("key %s, token %d after %d, revision %d after %d", m2.Key(), m2.Held().Token(), token, e2.Rev(), rev)
		}
		resp, err := e2.Leader(t.Context())
		if err != nil || string(resp.Kvs[0].Value) != "b" {
			t.Errorf("%v, %v", resp, err)
		}
		must(t, first.Close()) // revokes the lease, which is another's by now: as etcd's
		<-next.Done()
	})
}

func TestCampaignOfALeaderProclaims(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		s := open(t, etcd.Client(t))
		e := concurrency.NewElection(s, "x")
		if err := e.Proclaim(t.Context(), "early"); !errors.Is(err, concurrency.ErrElectionNotLeader) || e.Key() != "" || e.Header() != nil {
			t.Errorf("before the campaign: %v, %q, %v", err, e.Key(), e.Header())
		}
		must(t, e.Resign(t.Context()))
		if _, err := e.Leader(t.Context()); !errors.Is(err, concurrency.ErrElectionNoLeader) {
			t.Errorf("Leader: %v", err)
		}
		must(t, e.Campaign(t.Context(), "a"))
		rev := e.Rev()
		other := concurrency.NewElection(s, "x")
		must(t, soon(t, func() error { return other.Campaign(t.Context(), "b") }))
		resp, err := e.Leader(t.Context())
		if err != nil || string(resp.Kvs[0].Value) != "b" || other.Rev() != rev || other.Key() != e.Key() {
			t.Errorf("%v, %v, revision %d after %d", resp, err, other.Rev(), rev)
		}
		must(t, e.Resign(t.Context()))
		if err := other.Proclaim(t.Context(), "late"); !errors.Is(err, concurrency.ErrElectionNotLeader) || other.Key() != "" {
			t.Errorf("after the resignation: %v, %q", err, other.Key())
		}
	})
}

func TestResignEndsACampaignThatWaits(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		client := etcd.Client(t)
		leader, e := concurrency.NewElection(open(t, client), "x"), concurrency.NewElection(open(t, client), "x")
		must(t, leader.Campaign(t.Context(), ""))
		waits := make(chan error, 1)
		go func() { waits <- e.Campaign(t.Context(), "") }()
		synctest.Wait()
		must(t, e.Resign(t.Context()))
		if err := soon(t, func() error { return <-waits }); !errors.Is(err, concurrency.ErrElectionNotLeader) {
			t.Error(err)
		}
		synctest.Wait()
		if n := keys(t, client, "x/"); n != 1 {
			t.Errorf("%d keys, want the leader's", n)
		}
		must(t, leader.Resign(t.Context()))
		must(t, soon(t, func() error { return e.Campaign(t.Context(), "") }))
	})
}

func TestLeaderIsResumedBySomebodyElse(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		client := etcd.Client(t)
		first := concurrency.NewElection(open(t, client), "x")
		must(t, first.Campaign(t.Context(), "a"))
		again := concurrency.ResumeElection(open(t, client), "x", first.Key(), first.Rev())
		must(t, again.Proclaim(t.Context(), "b"))
		resp, err := again.Leader(t.Context())
		if err != nil || string(resp.Kvs[0].Value) != "b" || again.Header() == nil {
			t.Errorf("%v, %v", resp, err)
		}
		must(t, again.Resign(t.Context()))
		if _, err := again.Leader(t.Context()); !errors.Is(err, concurrency.ErrElectionNoLeader) {
			t.Errorf("after the resignation: %v", err)
		}
		stale := concurrency.ResumeElection(open(t, client), "x", "x/7", 7)
		if err := stale.Proclaim(t.Context(), "c"); !errors.Is(err, concurrency.ErrElectionNotLeader) {
			t.Errorf("a leader that is none: %v", err)
		}
	})
}

func TestObserveSendsEachLeaderAndValue(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		client := etcd.Client(t)
		ctx, cancel := context.WithCancel(t.Context())
		seen := concurrency.NewElection(open(t, client), "x").Observe(ctx)
		for _, value := range []string{"a", "b"} {
			e := concurrency.NewElection(open(t, client), "x")
			must(t, e.Campaign(t.Context(), value))
			resp := <-seen
			if kv := resp.Kvs[0]; string(kv.Value) != value || string(kv.Key) != e.Key() || kv.CreateRevision != e.Rev() || resp.Header.Revision < e.Rev() {
				t.Errorf("%v, want %s of %s", resp, value, e.Key())
			}
			must(t, e.Proclaim(t.Context(), value+value))
			if resp := <-seen; string(resp.Kvs[0].Value) != value+value {
				t.Errorf("%v, want %s", resp, value+value)
			}
			must(t, e.Resign(t.Context()))
		}
		cancel()
		if resp, open := <-seen; open {
			t.Errorf("after the end: %v", resp)
		}
	})
}

func TestLockerLocks(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		client := etcd.Client(t)
		s := open(t, client)
		l := concurrency.NewLocker(s, "x")
		l.Lock()
		if err := concurrency.NewMutex(open(t, client), "x").TryLock(t.Context()); !errors.Is(err, concurrency.ErrLocked) {
			t.Error(err)
		}
		l.Unlock()
		l.Lock()
		must(t, s.Close())
		l.Unlock() // it was lost, and nothing is to be given back
		defer func() {
			if err, _ := recover().(error); !errors.Is(err, concurrency.ErrSessionExpired) {
				t.Errorf("Lock after Close panics with %v", err)
			}
		}()
		l.Lock()
	})
}

func TestBadPrefixIsAnErrorOfTheFirstCall(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		s := open(t, etcd.Client(t))
		if err := concurrency.NewMutex(s, "").Lock(t.Context()); !errors.Is(err, session.ErrInvalidName) {
			t.Errorf("Lock: %v", err)
		}
		if err := concurrency.NewElection(s, "").Campaign(t.Context(), ""); !errors.Is(err, session.ErrInvalidName) {
			t.Errorf("Campaign: %v", err)
		}
		if _, err := concurrency.NewSession(nil); err == nil {
			t.Error("a nil client was taken")
		}
	})
}

func TestSessionHoldsMoreThanOneLeaseHasRoomFor(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		s := open(t, etcd.Client(t))
		var all errgroup.Group
		for i := range 400 {
			m := concurrency.NewMutex(s, "x/"+strconv.Itoa(i))
			all.Go(func() error {
				if err := m.Lock(t.Context()); err != nil {
					return err
				}
				if m.Key() == "" {
					return errors.New("no key")
				}
				return nil
			})
		}
		must(t, all.Wait())
		if n := len(etcd.Leases()); n < 2 {
			t.Errorf("they hang on %d leases, want several", n)
		}
		must(t, s.Close())
		if n := keys(t, etcd.Client(t), "x/"); n != 0 {
			t.Errorf("%d keys are left", n)
		}
	})
}
