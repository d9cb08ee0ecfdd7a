package barrier_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/fenceline/fenceline/barrier"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

func TestPartiesLeaveAndGatesOpenWhileEtcdTakesDeletionsOnly(t *testing.T) {
	t.Parallel()
	m := etcdtest.Start(t)
	client := m.Client(t)
	s, err := session.Open(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	pass, err := barrier.New(s, "one", 1).Enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	gate := barrier.NewGate(s, "g")
	if err := gate.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	waited := make(chan error, 2)
	for _, b := range []*barrier.Barrier{barrier.New(s, "two", 2), barrier.New(s, "broken", 2, barrier.WithBreak())} {
		go func() { _, err := b.Enter(ctx); waited <- err }()
	}
	etcdtest.Eventually(t, 5*time.Second, "parties", func() bool {
		return len(etcdtest.Keys(t, client, "fenceline/barrier/two/in/")) == 1 && len(etcdtest.Keys(t, client, "fenceline/barrier/broken/in/")) == 1
	})
	m.NoSpace(t)
	if err := pass.Leave(t.Context()); err != nil {
		t.Error(err)
	}
	if err := gate.Open(t.Context()); err != nil {
		t.Error(err)
	}
	cancel()
	for range 2 {
		if err := <-waited; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	etcdtest.Eventually(t, 10*time.Second, "no party left", func() bool {
		return len(etcdtest.Keys(t, client, "fenceline/barrier/one/in/"))+len(etcdtest.Keys(t, client, "fenceline/barrier/two/in/"))+len(etcdtest.Keys(t, client, "fenceline/barrier/broken/in/")) == 0
	})
	m.Space(t)
}
