package keeper

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestHoldersAreToldOnceAlsoThoseWhoComeLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, ttl)
		e := r.Current()
		var early, gone, late atomic.Int32
		e.OnLoss("early", func(error) { early.Add(1) })
		e.OnLoss("gone", func(error) { gone.Add(1) })
		e.Forget("gone")
		for range 10 {
			go e.Gone()
			go e.Err()
		}
		synctest.Wait()
		e.OnLoss("late", func(cause error) {
			if cause != ErrRevoked {
				t.Errorf("cause %v", cause)
			}
			late.Add(1)
		})
		e.Gone()
		synctest.Wait()
		if early.Load() != 1 || late.Load() != 1 || gone.Load() != 0 {
			t.Errorf("told %d, %d times, and one who was forgotten %d times", early.Load(), late.Load(), gone.Load())
		}
	})
}

func TestStateFlipsThenHoldersAreToldThenHooks(t *testing.T) {
	for _, end := range []string{"lost", "closed"} {
		synctest.Test(t, func(t *testing.T) {
			r := start(t, ttl)
			e := r.Current()
			want := Down
			if end == "closed" {
				want = Closed
			}
			e.OnLoss(t, func(error) {
				if got := r.State(); got != want {
					t.Errorf("%s: state %v when holders are told", end, got)
				}
				if e.Err() == nil {
					t.Errorf("%s: still to be trusted when holders are told", end)
				}
				time.Sleep(time.Second) // hooks would overtake
				if n := len(r.states()); n != 1 {
					t.Errorf("%s: a hook ran before the holders were told", end)
				}
			})
			if end == "lost" {
				e.Gone()
			} else if err := r.Close(t.Context()); err != nil {
				t.Error(err)
			}
			time.Sleep(1100 * time.Millisecond)
			if got := r.states(); len(got) < 2 || got[1].to != want {
				t.Errorf("%s: states %s", end, stateNames(got))
			}
		})
	}
}

func TestStateHooksComeInOrderOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		if err := r.open(t.Context(), ttl); err != nil {
			t.Fatal(err)
		}
		var inside atomic.Int32
		last := Live
		r.Hooks.State = func(from, to State, cause error) { // set while nothing changes
			if inside.Add(1) != 1 {
				t.Error("two hooks at a time")
			}
			if from != last {
				t.Errorf("from %v, but the last was to %v", from, last)
			}
			last = to
			time.Sleep(10 * time.Millisecond)
			inside.Add(-1)
		}
		r.Current().Gone()
		time.Sleep(time.Millisecond)
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if last != Closed {
			t.Errorf("the last change told after Close was to %v", last)
		}
	})
}

func TestRenewAsksAtOnceAndWaitsForTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, ttl)
		r.etcd.let(renews, answeredAfter(time.Second))
		time.Sleep(time.Second)
		if err := r.Current().Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(r.etcd.start); !near(took, 2*time.Second) {
			t.Errorf("answered at %v, want 2 s", took)
		}
		if got, want := r.Current().Remaining(), trusted-time.Second; !near(got, want) {
			t.Errorf("trusted for %v, want %v", got, want)
		}
	})
}

func TestRenewEndsWithCtxAndWithLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, ttl)
		r.etcd.let(renews, swallowed)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Current().Renew(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after its ctx: %v", err)
		}
		if err := r.Current().Renew(t.Context()); err != ErrExpired {
			t.Errorf("after the deadline: %v", err)
		}
	})
}

func TestFreshMeansAThirdOfTheTTLIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, ttl)
		r.etcd.let(renews, swallowed)
		e := r.Current()
		time.Sleep(trusted - ttl/3 - time.Millisecond)
		if fresh, err := e.Fresh(); !fresh || err != nil {
			t.Errorf("%v, %v before", fresh, err)
		}
		time.Sleep(2 * time.Millisecond)
		if fresh, err := e.Fresh(); fresh || err != nil {
			t.Errorf("%v, %v after", fresh, err)
		}
		time.Sleep(ttl / 3)
		if fresh, err := e.Fresh(); fresh || err != ErrExpired {
			t.Errorf("%v, %v after the deadline", fresh, err)
		}
	})
}

func TestLiveWaitsThroughDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, ttl)
		old := r.Current()
		r.etcd.let(grants, refused(errAway))
		old.Gone()
		time.AfterFunc(10*time.Second, func() { r.etcd.let(grants, nil) })
		e, err := r.Live(t.Context())
		if err != nil || e.ID() == old.ID() {
			t.Fatalf("Live: %v, %v", e, err)
		}
		if took := time.Since(r.etcd.start); took < 10*time.Second || took > 13*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestLiveEndsWithCtxAndSaysWhyThereIsNoLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, ttl)
		r.Current().Gone()
		r.etcd.let(grants, refused(errAway)) // its trouble comes after the wait has begun
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := r.Live(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "connection refused") || !strings.Contains(err.Error(), endpoint) {
			t.Errorf("Live: %v", err)
		}
		if err := r.Healthy(); err == nil || !strings.Contains(err.Error(), "no lease") || !strings.Contains(err.Error(), endpoint) {
			t.Errorf("Healthy: %v", err)
		}
	})
}

func TestLiveIsErrClosedAfterCloseAndDuring(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, ttl)
		r.etcd.let(grants, swallowed)
		r.Current().Gone()
		got := make(chan error)
		go func() {
			_, err := r.Live(t.Context())
			got <- err
		}()
		time.Sleep(time.Second)
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-got; err != ErrClosed {
			t.Errorf("a waiter was told %v", err)
		}
		if _, err := r.Live(t.Context()); err != ErrClosed {
			t.Errorf("after Close: %v", err)
		}
	})
}
