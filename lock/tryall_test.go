package lock_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fenceline/fenceline/fencetest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

var (
	_ session.Hold = (*lock.Lock)(nil)
	_ session.Hold = (*lock.Set)(nil)
)

func TestTryAcquireAllTakesAllOrWritesNothingAndSaysWho(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		s, other := etcd.Session(t), etcd.Session(t, session.WithName("other"))
		x, y, z := lock.New(s, "x"), lock.New(s, "y"), lock.New(s, "z")
		held, err := lock.New(other, "y").Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		before := etcd.Revision()
		_, err = lock.TryAcquireAll(t.Context(), x, y, z)
		var who *lock.HeldError
		if !errors.Is(err, lock.ErrHeld) || !errors.As(err, &who) || who.Name != "y" || who.Holder.Name != "other" {
			t.Errorf("%v, %+v", err, who)
		}
		if n := etcd.Revision() - before; n != 0 {
			t.Errorf("%d writes", n)
		}
		if err := held.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		set, err := lock.TryAcquireAll(t.Context(), x, y, z)
		if err != nil {
			t.Fatal(err)
		}
		if n := etcd.Revision() - before; n != 2 {
			t.Errorf("%d writes for a release and a set", n)
		}
		if set.Token() != set.Lock(z).Token() || set.Lease() != set.Lock(x).Lease() || time.Until(set.Deadline()) <= 0 {
			t.Errorf("token %v, lease %x, until %v", set.Token(), set.Lease(), set.Deadline())
		}
		if _, err := lock.New(other, "z").TryAcquire(t.Context()); !errors.Is(err, lock.ErrHeld) {
			t.Errorf("a try beside it: %v", err)
		}
		if err := set.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !set.Deadline().IsZero() {
			t.Errorf("a deadline after the end: %v", set.Deadline())
		}
	})
}

// The answer to a try gets lost: what it may have put is taken back.
func TestTryAcquireAllWithoutAnAnswerLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		s := etcd.Session(t)
		x, y := lock.New(s, "x"), lock.New(s, "y")
		etcd.Decide(func(r fencetest.Request) fencetest.Fate {
			return fencetest.Fate{AnswerLost: r.Method == "Txn"}
		})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := lock.TryAcquireAll(ctx, x, y); err == nil {
			t.Error("it has succeeded without an answer")
		}
		etcd.Decide(nil)
		time.Sleep(time.Minute)
		set, err := lock.TryAcquireAll(t.Context(), x, y)
		if err != nil {
			t.Fatal(err)
		}
		if err := set.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestDoReadAndDoWriteExcludeAsTheHoldsDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		m, other := lock.NewRW(etcd.Session(t), "x"), lock.NewRW(etcd.Session(t), "x")
		reads := func(context.Context, *lock.Lock) error {
			if _, err := other.TryAcquireWrite(t.Context()); !errors.Is(err, lock.ErrHeld) {
				t.Errorf("a writer beside it: %v", err)
			}
			return errors.New("mine")
		}
		if err := m.DoRead(t.Context(), reads); err == nil || err.Error() != "mine" {
			t.Error(err)
		}
		writes := func(context.Context, *lock.Lock) error {
			if _, err := other.TryAcquireRead(t.Context()); !errors.Is(err, lock.ErrHeld) {
				t.Errorf("a reader beside it: %v", err)
			}
			return nil
		}
		if err := m.DoWrite(t.Context(), writes); err != nil {
			t.Error(err)
		}
		l, err := other.TryAcquireWrite(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}
