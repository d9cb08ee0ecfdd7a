package barrier_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fenceline/fenceline/barrier"
	"github.com/fenceline/fenceline/fencetest"
	"github.com/fenceline/fenceline/session"
)

func TestWhatIsForgottenBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		client, s := etcd.Client(t), etcd.Session(t)
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(barrier.NewGate(s, "x").Close(t.Context()))
		must(barrier.NewLatch(s, "x", 2).CountDown(t.Context(), "a"))
		must(barrier.NewLatch(s, "x/y", 2).CountDown(t.Context(), "a"))
		p, err := barrier.New(s, "x", 1).Enter(t.Context())
		must(err)
		if err := barrier.Forget(t.Context(), client, "x"); !errors.Is(err, barrier.ErrInUse) {
			t.Errorf("of a barrier with a party: %v", err)
		}
		must(p.Leave(t.Context()))
		must(barrier.Forget(t.Context(), client, "x"))
		must(barrier.ForgetGate(t.Context(), client, "x"))
		must(barrier.ForgetLatch(t.Context(), client, "x"))

		must(barrier.NewGate(s, "x").Wait(t.Context()))
		must(barrier.NewLatch(s, "x", 3).CountDown(t.Context(), "a")) // from another number
		must(barrier.NewLatch(s, "x/y", 2).CountDown(t.Context(), "b"))
		must(barrier.NewLatch(s, "x/y", 2).Wait(t.Context()))
		p, err = barrier.New(s, "x", 1).Enter(t.Context())
		must(err)
		must(p.Leave(t.Context()))
		time.Sleep(time.Second)
		synctest.Wait()
		must(barrier.Forget(t.Context(), client, "x"))
		for _, forget := range []error{barrier.Forget(t.Context(), client, "x"), barrier.ForgetGate(t.Context(), client, "x"),
			barrier.ForgetLatch(t.Context(), client, "nobody"), barrier.ForgetLatch(t.Context(), client, "x", barrier.WithNamespace("other/"))} {
			if !errors.Is(forget, barrier.ErrUnknown) {
				t.Errorf("what there is nothing of: %v", forget)
			}
		}
		if err := barrier.Forget(t.Context(), client, ""); !errors.Is(err, session.ErrInvalidName) {
			t.Errorf("no name: %v", err)
		}
	})
}
