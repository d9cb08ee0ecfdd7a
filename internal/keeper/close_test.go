package keeper

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/fenceline/fenceline/internal/etcd"
)

func TestCloseEndsHoldsAndRevokes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, ttl)
		e := r.Current()
		held := r.hold(e)
		if err := r.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		cause, _ := held.told()
		if cause != ErrClosed || e.Err() != ErrClosed || context.Cause(r.Context()) != ErrClosed || r.Healthy() != ErrClosed {
			t.Errorf("told %v; epoch %v, context %v, healthy %v", cause, e.Err(), context.Cause(r.Context()), r.Healthy())
		}
		if r.State() != Closed || r.Current() != nil || r.etcd.standing() != 0 {
			t.Errorf("%v, %v, %d leases", r.State(), r.Current(), r.etcd.standing())
		}
		if got := stateNames(r.states()); got != "down>live live>closed " {
			t.Errorf("states %s", got)
		}
	})
}

func TestLastWordsComeBeforeTheRevokeAndAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, ttl)
		e := r.Current()
		said := 0
		r.OnClose(func(ctx context.Context, under *Epoch) {
			if said++; under != e || len(r.etcd.seen(revokes)) != 0 || ctx.Err() != nil {
				t.Errorf("under %v, after %d revokes, ctx %v", under, len(r.etcd.seen(revokes)), ctx.Err())
			}
			<-ctx.Done() // one who never comes to an end
		})
		began := time.Now()
		if err := r.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); said != 1 || r.etcd.standing() != 0 || d > 2*time.Second {
			t.Errorf("said %d times, %d leases, after %v", said, r.etcd.standing(), d)
		}
	})
}

func TestSecondCloseDoesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, ttl)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		for range 50 { // a choice between two ready channels is random
			if err := r.Close(ended); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(r.etcd.seen(revokes)); n != 1 {
			t.Errorf("%d revokes", n)
		}
	})
}

func TestConcurrentClosesWaitForTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, ttl)
		r.etcd.let(revokes, answeredAfter(2*time.Second))
		first := make(chan error)
		go func() { first <- r.Close(t.Context()) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with less time than the first: %v", err)
		}
		if err := r.Close(t.Context()); err != nil {
			t.Errorf("with enough time: %v", err)
		}
		if took := time.Since(r.etcd.start); took != 2*time.Second {
			t.Errorf("returned at %v, want with the first", took)
		}
		if err := <-first; err != nil {
			t.Error(err)
		}
	})
}

func TestCloseReturnsByCtxWhenEtcdIsAwayAndSaysWhatItMeans(t *testing.T) {
	for name, be := range map[string]fate{"swallowed": swallowed, "refused": refused(errAway)} {
		for _, deadline := range []time.Duration{0, time.Second} {
			synctest.Test(t, func(t *testing.T) {
				r := start(t, ttl)
				r.etcd.let(revokes, be)
				ctx, want := t.Context(), etcd.AnswerWithin
				if deadline > 0 {
					c, cancel := context.WithTimeout(ctx, deadline)
					defer cancel()
					ctx, want = c, deadline
				}
				err := r.Close(ctx)
				if took := time.Since(r.etcd.start); took < want-etcd.Steady.Longest || took > want+grace {
					t.Errorf("%s: returned after %v, want %v", name, took, want)
				}
				for _, part := range []string{"up to 15s", endpoint} {
					if err == nil || !strings.Contains(err.Error(), part) {
						t.Errorf("%s: %v does not say %q", name, err, part)
					}
				}
				if n := r.goroutines(); n != 0 {
					t.Errorf("%s: %d goroutines left", name, n)
				}
			})
		}
	}
}

func TestCloseByCancelReturnsAtOnceAndRevokesAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, ttl)
		r.etcd.let(revokes, inTurn(refused(errAway), answeredAfter(time.Second)))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(500*time.Millisecond, cancel)
		if err := r.Close(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Close: %v", err)
		}
		if took := time.Since(r.etcd.start); took > 500*time.Millisecond+grace {
			t.Errorf("returned after %v", took)
		}
		time.Sleep(2 * time.Second)
		if n := r.etcd.standing(); n != 0 {
			t.Errorf("%d leases stand", n)
		}
	})
}

func TestCloseWithAnEndedCtxStillRevokes(t *testing.T) {
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			r := start(t, ttl)
			r.etcd.let(revokes, answeredAfter(grace/2))
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := r.Close(ctx); err != nil {
				t.Fatal(err)
			}
			if n := r.etcd.standing(); n != 0 {
				t.Fatalf("%d leases stand", n)
			}
		})
	}
}

func TestCloseRepeatsARevokeThatFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, ttl)
		r.etcd.let(revokes, inTurn(refused(errAway), refused(errAway), refused(errAway)))
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestRevokeIsNotRepeatedForLongerThanTheLeaseLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, 2*time.Second)
		r.etcd.let(revokes, refused(errAway))
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := r.Close(ctx); err == nil {
			t.Error("no error")
		}
		if took := time.Since(r.etcd.start); took > 2*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestCloseWaitsForGoroutinesAndSaysWhenItDoesNot(t *testing.T) {
	for _, patient := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			r := start(t, ttl)
			r.Go(func(ctx context.Context) {
				<-ctx.Done()
				time.Sleep(time.Second)
			})
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			if patient {
				ctx = t.Context()
			}
			err := r.Close(ctx)
			if took := time.Since(r.etcd.start); patient && (err != nil || took != time.Second) {
				t.Errorf("patient: %v after %v", err, took)
			} else if !patient && (err == nil || !strings.Contains(err.Error(), "winding up") || took > 500*time.Millisecond+grace) {
				t.Errorf("impatient: %v after %v", err, took)
			}
			time.Sleep(time.Second)
		})
	}
}

func TestCloseWhileALeaseIsFetchedLeavesNone(t *testing.T) {
	stubborn := func(_ context.Context, carryOut func() (time.Duration, error)) (time.Duration, error) {
		ttl, err := carryOut()
		time.Sleep(time.Second)
		return ttl, err // though nobody waits any more
	}
	for name, be := range map[string]fate{"answered too late": stubborn, "not answered": unanswerable} {
		for _, kind := range []string{grants, records} {
			t.Run(kind+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := start(t, ttl)
					r.etcd.let(kind, be)
					r.lose()
					time.Sleep(500 * time.Millisecond) // into the request
					if err := r.Close(t.Context()); err != nil {
						t.Error(err)
					}
					if n := r.etcd.standing(); n != 0 {
						t.Errorf("%d leases stand", n)
					}
					if got := r.Current(); got != nil || r.State() != Closed {
						t.Errorf("%v, %v after Close", got, r.State())
					}
				})
			})
		}
	}
}

func TestCloseWhileDownTellsTheHookLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, ttl)
		r.etcd.let(grants, refused(errAway))
		r.lose()
		time.Sleep(time.Second)
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if got := stateNames(r.states()); got != "down>live live>down down>closed " {
			t.Errorf("states %s", got)
		}
	})
}

func TestNothingStartsAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, ttl)
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if r.Go(func(context.Context) { t.Error("it ran") }) {
			t.Error("Go says that it ran")
		}
		n := r.etcd.all()
		time.Sleep(time.Hour)
		if got := r.etcd.all(); got != n {
			t.Errorf("%d requests after Close", got-n)
		}
	})
}

func TestCloseAfterTheClientsSaysSoAtOnce(t *testing.T) {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		r := start(t, ttl)
		r.Client = client
		client.Close()
		err := r.Close(t.Context())
		if took := time.Since(r.etcd.start); err == nil || !strings.Contains(err.Error(), "was closed") || took > time.Second {
			t.Errorf("%v after %v", err, took)
		}
	})
}

// Whatever else goes on, one Close is enough.
func TestCloseAtAnyMoment(t *testing.T) {
	for at := time.Duration(0); at < 20*time.Second; at += 97 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			r := start(t, 2*time.Second)
			slow := answeredAfter(130 * time.Millisecond)
			gone := func(_ context.Context, carryOut func() (time.Duration, error)) (time.Duration, error) {
				r.etcd.revokeByHand(r.epoch.ID())
				return carryOut()
			}
			r.etcd.let(renews, inTurn(slow, swallowed, refused(errAway), swallowed, swallowed, swallowed, swallowed, slow, gone))
			r.etcd.let(grants, inTurn(unanswerable, slow, refused(errAway), slow))
			r.etcd.let(records, inTurn(slow, unanswerable, slow))
			time.Sleep(at)
			if err := r.Close(t.Context()); err != nil {
				t.Errorf("at %v: %v", at, err)
			}
			if n := r.etcd.standing(); n != 0 {
				t.Errorf("at %v: %d leases stand", at, n)
			}
			if n := r.goroutines(); n != 0 {
				t.Errorf("at %v: %d goroutines", at, n)
			}
		})
	}
}
