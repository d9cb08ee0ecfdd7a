package election_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

func TestHangingCheckIsNotAskedAgain(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	var running atomic.Int32
	free := make(chan struct{})
	e := election.New(open(t, client, session.WithTTL(2*time.Second)), name, election.WithHealth(func(context.Context) error {
		running.Add(1)
		defer running.Add(-1)
		<-free
		return nil
	}))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_ = e.Lead(ctx, "v", func(context.Context, *election.Term) error { return nil })
	if n := running.Load(); n > 1 {
		t.Errorf("%d goroutines hang in the check after 5s", n)
	}
	close(free)
	etcdtest.Eventually(t, time.Second, "them gone", func() bool { return running.Load() == 0 })
}

func TestLeadDoesNotRunItsFunctionAgainOnceItHasReturned(t *testing.T) {
	etcd, name := etcdtest.Start(t), etcdtest.Name(t)
	proxy := etcdtest.NewProxy(t, etcd)
	var sick atomic.Bool
	e := election.New(open(t, proxy.Client(t), session.WithTTL(6*time.Second)), name, election.WithHealth(func(context.Context) error {
		if sick.Load() {
			return errors.New("a cough")
		}
		return nil
	}))
	var runs atomic.Int32
	done := errors.New("done")
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
	defer cancel()
	go func() { time.Sleep(5 * time.Second); proxy.Heal(); sick.Store(false) }()
	err := e.Lead(ctx, "v", func(ctx context.Context, _ *election.Term) error {
		if runs.Add(1) == 1 {
			proxy.Blackhole()
			defer sick.Store(true)
		}
		if ctx.Err() != nil {
			t.Error("not while it led")
		}
		return done
	})
	if runs.Load() != 1 || !errors.Is(err, done) {
		t.Errorf("fn ran %d times; Lead: %v", runs.Load(), err)
	}
}
