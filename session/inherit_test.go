package session_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/fence"
	"github.com/fenceline/fenceline/fencetest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/semaphore"
	"github.com/fenceline/fenceline/session"
)

// orphan gives a session up, and returns its lease.
func orphan(t *testing.T, s *session.Session) clientv3.LeaseID {
	t.Helper()
	lease := s.Lease()
	if err := s.Orphan(t.Context()); err != nil {
		t.Fatal(err)
	}
	return lease
}

func acquired(t *testing.T, m *lock.Mutex) *lock.Lock {
	t.Helper()
	l, err := m.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLockIsTakenOverWithTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		first := etcd.Session(t)
		m := lock.New(first, "x")
		before := acquired(t, m)
		last := before.Token()
		for range 5 { // of one entry
			if err := before.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
			before = acquired(t, m)
			last = before.Token()
		}
		others := make(chan *lock.Lock, 1)
		go func() { l, _ := lock.New(etcd.Session(t), "x").Acquire(t.Context()); others <- l }()
		synctest.Wait()

		lease := orphan(t, first)
		if err := context.Cause(before.Context()); !errors.Is(err, session.ErrClosed) {
			t.Errorf("the hold of the orphaned session: %v", err)
		}
		for range 70 { // more often than there are turns for it
			s := etcd.Session(t, session.WithLease(lease))
			if s.Lease() != lease {
				t.Fatalf("lease %x, want %x", s.Lease(), lease)
			}
			l := acquired(t, lock.New(s, "x"))
			if l.Token() <= last {
				t.Fatalf("token %d after %d", l.Token(), last)
			}
			last = l.Token()
			if len(others) == 1 { // the turns are used up
				t.Fatal("somebody else got it meanwhile")
			}
			if _, err := s.Client().Txn(t.Context()).If(l.Guard()...).Then(clientv3.OpPut("did", "it")).Commit(); err != nil {
				t.Fatal(err)
			}
			if last.Turn() == fence.Turns-1 {
				if err := l.Release(t.Context()); err != nil {
					t.Fatal(err)
				}
				break
			}
			lease = orphan(t, s)
		}
		if l := <-others; l == nil || l.Token() <= last {
			t.Errorf("the next one: %v", l)
		}
	})
}

func TestTermIsTakenOverWithTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		first := etcd.Session(t)
		before, err := election.New(first, "x", election.WithPriority(3)).Campaign(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		go election.New(etcd.Session(t), "x").Campaign(t.Context(), "other")
		synctest.Wait()
		s := etcd.Session(t, session.WithLease(orphan(t, first)))
		term, err := election.New(s, "x", election.WithPriority(3)).Campaign(t.Context(), "b")
		if err != nil {
			t.Fatal(err)
		}
		if term.Key() != before.Key() || term.Token().Revision() != before.Token().Revision() || term.Token() <= before.Token() {
			t.Errorf("%s %v after %s %v", term.Key(), term.Token(), before.Key(), before.Token())
		}
		if leader, err := election.Current(t.Context(), s.Client(), "x"); err != nil || leader.Value != "b" {
			t.Errorf("%+v, %v", leader, err)
		}
		if err := term.Resign(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestNobodyWaitsForWhatAnEarlierSessionLeftUnderItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		first := etcd.Session(t)
		if _, err := lock.NewRW(first, "x").AcquireRead(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := semaphore.New(first, "x", 3).Acquire(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
		}
		acquired(t, lock.New(first, "a"))
		acquired(t, lock.New(first, "b"))
		if _, err := election.New(first, "x", election.WithPriority(1)).Campaign(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		s := etcd.Session(t, session.WithLease(orphan(t, first)))
		inTime(t, func(ctx context.Context) error { _, err := lock.NewRW(s, "x").AcquireWrite(ctx); return err })
		inTime(t, func(ctx context.Context) error { _, err := semaphore.New(s, "x", 3).Acquire(ctx, 3); return err })
		inTime(t, func(ctx context.Context) error {
			_, err := lock.AcquireAll(ctx, lock.New(s, "a"), lock.New(s, "b"))
			return err
		})
		inTime(t, func(ctx context.Context) error { _, err := election.New(s, "x").Campaign(ctx, ""); return err })
	})
}

func inTime(t *testing.T, f func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := f(ctx); err != nil {
		t.Error(err)
	}
}

func TestLeaseThatDoesNotLiveCannotBeContinued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		client := etcd.Client(t)
		if _, err := session.Open(t.Context(), client, session.WithLease(7)); !errors.Is(err, session.ErrRevoked) {
			t.Errorf("%v", err)
		}
		if _, err := session.Open(t.Context(), client, session.WithLease(-7)); err == nil {
			t.Error("a negative lease was taken")
		}
		if n := len(etcd.Leases()); n != 0 {
			t.Errorf("%d leases are left", n)
		}
	})
}

func TestOrphanedLeaseEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		first := etcd.Session(t, session.WithTTL(5*time.Second))
		acquired(t, lock.New(first, "x"))
		orphan(t, first)
		if n := len(etcd.Leases()); n != 1 {
			t.Errorf("%d leases are left, want 1", n)
		}
		began := time.Now()
		acquired(t, lock.New(etcd.Session(t), "x"))
		if took := time.Since(began); took < 3*time.Second || took > 8*time.Second {
			t.Errorf("the next one got it after %v, want about a TTL of 5 s", took)
		}
	})
}

func TestSessionThatWasContinuedTakesANewLeaseWhenItLosesThis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		first := etcd.Session(t)
		acquired(t, lock.New(first, "x"))
		lease := orphan(t, first)
		s := etcd.Session(t, session.WithLease(lease))
		l := acquired(t, lock.New(s, "x"))
		if _, err := etcd.Client(t).Revoke(t.Context(), lease); err != nil {
			t.Fatal(err)
		}
		<-l.Context().Done()
		again := acquired(t, lock.New(s, "x"))
		if s.Lease() == lease || again.Token() <= l.Token() {
			t.Errorf("lease %x, token %v after %v", s.Lease(), again.Token(), l.Token())
		}
	})
}

func TestOneOfSeveralTakesOverAndTheOthersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		first := etcd.Session(t)
		before, err := election.New(first, "x").Campaign(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		read, err := lock.NewRW(first, "x").AcquireRead(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		go election.New(etcd.Session(t), "x").Campaign(t.Context(), "other") // it must not lead in between
		synctest.Wait()
		s := etcd.Session(t, session.WithLease(orphan(t, first)))
		won := make(chan *election.Term, 5)
		for range 5 {
			go func() {
				if term, err := election.New(s, "x").Campaign(t.Context(), "b"); err == nil {
					won <- term
				}
			}()
		}
		held := make(chan *lock.Lock, 10)
		m := lock.NewRW(s, "x")
		for i := range 10 {
			acquire := m.AcquireRead
			if i%2 == 0 {
				acquire = m.AcquireWrite
			}
			go func() {
				l, err := acquire(t.Context())
				if err != nil {
					return
				}
				time.Sleep(time.Second)
				if l.Context().Err() != nil {
					t.Errorf("a hold was lost: %v", context.Cause(l.Context()))
				}
				if err := l.Release(t.Context()); err != nil {
					t.Error(err)
				}
				held <- l
			}()
		}
		term := <-won
		if term.Key() != before.Key() || term.Token().Revision() != before.Token().Revision() {
			t.Errorf("%s leads, want %s to go on", term.Key(), before.Key())
		}
		time.Sleep(5 * time.Second)
		if term.Context().Err() != nil || len(won) != 0 {
			t.Errorf("%v, and %d others lead", context.Cause(term.Context()), len(won))
		}
		for range 10 {
			if l := <-held; l.Token() <= read.Token() {
				t.Errorf("token %d after %d", l.Token(), read.Token())
			}
		}
	})
}
