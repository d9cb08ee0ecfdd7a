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

// A release is the last that its session knows of. A restore takes it back, and the entry stands again, under a lease that lives.
func TestEntryThatARestoreBringsBackKeepsNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		one, other := etcd.Session(t, session.WithTTL(time.Minute)), etcd.Session(t, session.WithTTL(time.Minute))
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		l, err := lock.New(one, "x").Acquire(ctx)
		if err != nil {
			t.Fatal(err)
		}
		backup := etcd.Backup()
		if err := l.Release(ctx); err != nil {
			t.Fatal(err)
		}
		etcd.Restore(backup)
		time.Sleep(5 * time.Second) // its connection is there again, and nobody else has written
		l, err = lock.New(other, "x").Acquire(ctx)
		if err != nil {
			t.Fatalf("%v; there are %d keys", err, len(etcd.Keys()))
		}
		if err := l.Release(ctx); err != nil {
			t.Error(err)
		}
	})
}

// By the time that a session asks, others have written more than was forgotten: revisions show nothing, but another cluster answers.
func TestRestoredEtcdThatHasCaughtUpIsNoticedByRenewals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		node := etcd.Node("holder")
		s := node.Session(t, session.WithTTL(time.Minute))
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		l, err := lock.New(s, "x").Acquire(ctx)
		if err != nil {
			t.Fatal(err)
		}
		backup := etcd.Backup()
		etcd.Put("forgotten", "")
		node.Cut(fencetest.Both) // so that nothing is asked before the next renewal
		etcd.Restore(backup)
		etcd.Put("instead", "")
		node.Heal()
		select {
		case <-l.Context().Done():
			if cause := context.Cause(l.Context()); !errors.Is(cause, session.ErrRestored) {
				t.Error(cause)
			}
		case <-ctx.Done():
			t.Error("the holder is not told")
		}
	})
}
