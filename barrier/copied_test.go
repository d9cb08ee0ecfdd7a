package barrier_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/fenceline/fenceline/barrier"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

// Keys may be copied from another etcd one by one: then the revisions in them mean nothing, and versions begin again.
func TestRecordOfRoundsFromAnotherEtcdBreaksNoRound(t *testing.T) {
	t.Parallel()
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	key := "fenceline/barrier/" + name + "/round"
	for what, record := range map[string]string{
		"through the future": `{"round":7,"through":99999999,"rounds":[{"round":7,"in":[99999998,99999999]}]}`,
		"here":               `{"round":7,"here":true,"rounds":[{"round":7,"in":[99999998]}]}`,
		"numbers of nobody":  `{"round":-7,"through":-1}`,
	} {
		if _, err := client.Put(t.Context(), key, record); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		var wg sync.WaitGroup
		for range 2 {
			s, err := session.Open(ctx, client)
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				defer s.Close(context.Background())
				pass, err := barrier.New(s, name, 2).Enter(ctx)
				if err != nil {
					t.Errorf("%s: %v", what, err)
					return
				}
				_ = pass.Leave(ctx)
			})
		}
		wg.Wait()
		cancel()
	}
}

func TestLatchThatWasCopiedOpens(t *testing.T) {
	t.Parallel()
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	prefix := "fenceline/latch/" + name + "/"
	keys := map[string]string{prefix + "tally": "4"}
	for i := range 3 {
		keys[fmt.Sprintf("%sid/%d", prefix, i)] = "{}"
	}
	for key, value := range keys { // three have counted, and the tally has version 1
		if _, err := client.Put(ctx, key, value); err != nil {
			t.Fatal(err)
		}
	}
	s, err := session.Open(ctx, client)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	l := barrier.NewLatch(s, name, 4)
	if left, err := l.Left(ctx); err != nil || left != 1 {
		t.Errorf("%d left, %v", left, err)
	}
	if err := l.CountDown(ctx, "last"); err != nil {
		t.Fatal(err)
	}
	if err := l.Wait(ctx); err != nil {
		t.Error(err)
	}
}
