package lock_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

// The leases of sessions that are older than the backup live on in what is restored.
func TestEtcdThatGoesBackIsALossForHoldersAndWaiters(t *testing.T) {
	t.Parallel()
	m := etcdtest.Start(t)
	client := m.Client(t)
	const ttl = 20 * time.Second
	a, b, c := open(t, client, session.WithTTL(ttl)), open(t, m.Client(t), session.WithTTL(ttl)), open(t, m.Client(t), session.WithTTL(ttl))
	backup := m.Backup(t)
	for range 200 {
		if _, err := client.Put(t.Context(), "other", ""); err != nil {
			t.Fatal(err)
		}
	}
	l := acquire(t, lock.New(a, "x"))
	got := acquiring(t, lock.New(b, "x"))
	queued(t, client, "x", 2)
	m.Restore(t, backup)
	select {
	case <-l.Context().Done():
	case <-time.After(ttl):
		t.Fatal("the holder is not told")
	}
	if cause := context.Cause(l.Context()); !errors.Is(cause, session.ErrLost) {
		t.Errorf("the holder is told: %v", cause)
	}
	c2, a2 := acquiring(t, lock.New(c, "x")), acquiring(t, lock.New(a, "x"))
	for range 3 { // in which order, nobody promises
		select {
		case l := <-got:
			release(t, l)
		case l := <-c2:
			release(t, l)
		case l := <-a2:
			release(t, l)
		case <-time.After(2 * ttl):
			t.Fatal("a waiter is not granted")
		}
	}
	queued(t, client, "x", 0)
	for _, s := range []*session.Session{a, b, c} {
		etcdtest.Eventually(t, ttl, "all live", func() bool { return s.State() == session.Live })
	}
}

// A session's lease may be older than the backup, and its record be written after it.
func TestRecordThatWentBackDoesNotMakeALoopOfProposals(t *testing.T) {
	t.Parallel()
	m := etcdtest.Start(t)
	client := m.Client(t)
	s := open(t, client, session.WithTTL(20*time.Second))
	keeper.Of(s).Current().RecordWritten(1 << 40) // as if it had been
	l, err := lock.New(s, "x").Acquire(within(t))
	if err != nil {
		t.Fatal(err)
	}
	release(t, l)
	revision := func() int64 {
		resp, err := client.Get(t.Context(), "x")
		if err != nil {
			t.Fatal(err)
		}
		return resp.Header.Revision
	}
	before := revision()
	time.Sleep(time.Second) // whatever loops, writes
	if n := revision() - before; n > 3 {
		t.Errorf("%d proposals in a second", n)
	}
}
