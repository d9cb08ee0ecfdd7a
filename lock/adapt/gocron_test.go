package adapt_test

import (
	"context"
	"strings"
	"testing"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/lock/adapt"
	"github.com/fenceline/fenceline/session"
)

// unlocker is gocron.Lock.
type unlocker interface{ Unlock(context.Context) error }

func TestGocronLockNeverWaitsForOthers(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s := open(t, client)
	a, b := adapt.Gocron[unlocker](s), adapt.Gocron[unlocker](open(t, client))
	l, err := a.Lock(t.Context(), name)
	must(t, err)
	for _, g := range []adapt.GocronLocker[unlocker]{a, b} {
		got, err := g.Lock(t.Context(), name)
		want(t, err, lock.ErrHeld)
		if got != nil {
			t.Errorf("an error, and %v", got)
		}
	}
	queued(t, client, name, 1)
	must(t, l.Unlock(t.Context()))
	queued(t, client, name, 0)
	l, err = b.Lock(t.Context(), name)
	must(t, err)
	must(t, l.Unlock(t.Context()))
	want(t, l.Unlock(t.Context()), session.ErrNotHeld)
}

func TestGocronKeysMayBeNamesOfFunctions(t *testing.T) {
	g := adapt.Gocron[unlocker](open(t, etcdtest.Shared(t).Client(t)))
	for _, key := range []string{"main.main.func1", "example.com/a/b.(*T).Run-fm", "example.com/a/b", "a.F[...]", "schön 100%"} {
		l, err := g.Lock(t.Context(), key)
		must(t, err)
		defer l.Unlock(t.Context())
	}
}

func TestGocronUnlockTellsALoss(t *testing.T) {
	s, name := open(t, etcdtest.Shared(t).Client(t)), etcdtest.Name(t)
	l, err := adapt.Gocron[unlocker](s).Lock(t.Context(), name)
	must(t, err)
	lose(t, s)
	want(t, l.Unlock(t.Context()), session.ErrRevoked)
}

type concrete struct{}

func (concrete) Unlock(context.Context) error { return nil }
func (concrete) Run()                         {}

func TestGocronOfAConcreteTypeIsAnErrorThatSaysWhatToWrite(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	_, err := adapt.Gocron[concrete](open(t, client)).Lock(t.Context(), name)
	if err == nil || !strings.Contains(err.Error(), "adapt_test.concrete") || !strings.Contains(err.Error(), "Gocron[gocron.Lock]") {
		t.Error(err)
	}
	queued(t, client, name, 0)
}
