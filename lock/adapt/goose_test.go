package adapt_test

import (
	"testing"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock/adapt"
	"github.com/fenceline/fenceline/session"
)

func TestGooseProvidersOfOneLockerTakeTurns(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	g := adapt.Goose(open(t, client), name)
	takeTurns(t, [2]func() error{
		func() error { return g.Lock(t.Context(), nil) },
		func() error { return g.Unlock(t.Context(), nil) },
	})
	want(t, g.Unlock(t.Context(), nil), session.ErrNotHeld)
	queued(t, client, name, 0)
}

func TestGooseUnlockTellsALoss(t *testing.T) {
	s := open(t, etcdtest.Shared(t).Client(t))
	g := adapt.Goose(s, etcdtest.Name(t))
	must(t, g.Lock(t.Context(), nil))
	lose(t, s)
	want(t, g.Unlock(t.Context(), nil), session.ErrLost)
}
