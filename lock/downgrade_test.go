package lock_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

func TestDowngradeLetsReadersInAndNobodyInBetween(t *testing.T) {
	client, name, m := rws(t, 3)
	w := get(t, m[0].AcquireWrite)
	token, guard := w.Token(), w.Guard()
	reader := getting(t, m[1].AcquireRead)
	rwQueued(t, client, name, 2)
	writer := getting(t, m[2].AcquireWrite)
	rwQueued(t, client, name, 3)
	if err := m[0].Downgrade(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	var r *lock.Lock
	select {
	case r = <-reader:
	case <-time.After(time.Second):
		t.Fatal("the downgrade has woken nobody")
	}
	still(t, writer, "the writer")
	if err := context.Cause(w.Context()); err != nil || w.Token() != token {
		t.Errorf("after the downgrade: %v, token %d, before it was %d", err, w.Token(), token)
	}
	for want, g := range map[bool][]clientv3.Cmp{false: guard, true: w.Guard()} {
		if resp, err := client.Txn(t.Context()).If(g...).Commit(); err != nil || resp.Succeeded != want {
			t.Errorf("a guard, want %v: %v, %v", want, resp.Succeeded, err)
		}
	}
	here := getting(t, m[0].AcquireRead) // behind the writer
	still(t, here, "a later reader")
	release(t, r)
	release(t, w)
	release(t, <-writer)
	release(t, <-here)
	rwQueued(t, client, name, 0)
}

func TestWriterBesideADowngradedOneStandsInLineForAll(t *testing.T) {
	client, name, m := rws(t, 2)
	w := get(t, m[0].AcquireWrite)
	next := getting(t, m[0].AcquireWrite)
	// A local waiter is in no line but ours: it is in before the downgrade, or behind it.
	if err := m[0].Downgrade(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	rwQueued(t, client, name, 2)
	reader := getting(t, m[1].AcquireRead)
	rwQueued(t, client, name, 3)
	still(t, reader, "a reader behind that writer")
	still(t, next, "the writer")
	release(t, w)
	release(t, <-next)
	release(t, <-reader)
}

func TestReaderJoinsADowngradedWriter(t *testing.T) {
	_, _, m := rws(t, 2)
	w := get(t, m[0].AcquireWrite)
	waiting := getting(t, m[0].AcquireRead)
	if err := m[0].Downgrade(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	release(t, <-waiting)
	release(t, get(t, m[0].AcquireRead))
	release(t, get(t, m[0].TryAcquireRead))
	release(t, get(t, m[1].TryAcquireRead))
	release(t, w)
	release(t, get(t, m[0].AcquireWrite))
}

func TestDowngradeSaysWhatItCannotDowngrade(t *testing.T) {
	client, name, m := rws(t, 1)
	s := open(t, client)
	other := lock.NewRW(s, name+"-other")
	refused := func(what string, l *lock.Lock, text string, also error) {
		t.Helper()
		err := m[0].Downgrade(t.Context(), l)
		if !errors.Is(err, also) || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", what, err)
		}
	}
	r := get(t, m[0].AcquireRead)
	refused("a read hold", r, "read hold", lock.ErrDowngrade)
	release(t, r)
	w := get(t, m[0].AcquireWrite)
	if err := m[0].Downgrade(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	refused("a second time", w, "read hold", lock.ErrDowngrade)
	release(t, w)
	refused("a released hold", w, "released", lock.ErrDowngrade)
	refused("a released hold", w, "released", session.ErrNotHeld)
	refused("nil", nil, "nil", lock.ErrDowngrade)
	o := get(t, other.AcquireWrite)
	refused("another lock's", o, name+"-other", lock.ErrDowngrade)
	mutex := acquire(t, lock.New(s, name))
	refused("a Mutex's", mutex, "a hold of", lock.ErrDowngrade)
	release(t, mutex)
	revoke(t, client, s)
	_ = ends(t, o, 10*time.Second)
	if err := other.Downgrade(t.Context(), o); !errors.Is(err, session.ErrLost) {
		t.Errorf("a lost hold: %v", err)
	}
}
