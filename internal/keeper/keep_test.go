package keeper

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const ttl = 15 * time.Second

// trusted is how long a lease of ttl is trusted from its renewal on.
const trusted = 14100 * time.Millisecond

var errAway = status.Error(codes.Unavailable, "connection refused")

func TestDeadlineCountsFromWhenTheRenewalWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, ttl)
		r.etcd.let(renews, answeredAfter(2*time.Second))
		time.Sleep(7*time.Second + 1) // sent at 5 s, answered at 7 s
		synctest.Wait()
		if got, want := r.Current().Remaining(), 5*time.Second+trusted-7*time.Second; !near(got, want) {
			t.Errorf("trusted for %v more, want %v", got, want)
		}
	})
}

func TestGrantCountsFromWhenItWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.etcd.let(grants, answeredAfter(2*time.Second))
		if err := r.open(t.Context(), ttl); err != nil {
			t.Fatal(err)
		}
		defer r.Close(t.Context())
		if got, want := r.Current().Remaining(), trusted-2*time.Second; !near(got, want) {
			t.Errorf("trusted for %v, want %v", got, want)
		}
	})
}

func TestAnswerAfterTheTimeoutNeverCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, ttl)
		r.etcd.let(renews, answeredAfter(ttl/4+time.Millisecond))
		time.Sleep(trusted - time.Millisecond)
		synctest.Wait()
		if got := r.Current().Remaining(); !near(got, 0) {
			t.Errorf("trusted for %v more, want none", got)
		}
		time.Sleep(2 * time.Millisecond)
		if got := r.State(); got != Down {
			t.Errorf("state %v after the deadline", got)
		}
	})
}

func TestDeadlineNeverGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, ttl)
		r.etcd.let(renews, func(context.Context, func() (time.Duration, error)) (time.Duration, error) {
			return 2 * time.Second, nil
		})
		time.Sleep(5*time.Second + 1)
		synctest.Wait()
		if got, want := r.Current().Remaining(), trusted-5*time.Second; !near(got, want) {
			t.Errorf("trusted for %v more, want %v", got, want)
		}
	})
}

func TestTTLThatEtcdGrantedIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.etcd.raise = 10 * time.Second
		if err := r.open(t.Context(), 2*time.Second); err != nil {
			t.Fatal(err)
		}
		defer r.Close(t.Context())
		if got := r.Current().TTL(); got != 10*time.Second {
			t.Errorf("TTL %v", got)
		}
		if got, want := r.Current().Remaining(), 9400*time.Millisecond; !near(got, want) {
			t.Errorf("trusted for %v, want %v", got, want)
		}
		time.Sleep(10*time.Second/3 + time.Millisecond)
		synctest.Wait()
		if n := len(r.etcd.seen(renews)); n != 1 {
			t.Errorf("%d renewals after a third of the granted TTL, want 1", n)
		}
	})
}

func TestOneRenewalPerThirdOfTheTTLAndNothingElse(t *testing.T) {
	for _, ttl := range []time.Duration{2 * time.Second, 15 * time.Second, 60 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			r := start(t, ttl)
			time.Sleep(time.Hour)
			synctest.Wait()
			if n, want := len(r.etcd.seen(renews)), int(time.Hour/(ttl/3)); n > want || n < want-1 {
				t.Errorf("TTL %v: %d renewals in an hour, want %d", ttl, n, want)
			}
			if n := len(r.etcd.seen(grants)) + len(r.etcd.seen(records)) + len(r.etcd.seen(revokes)); n != 2 {
				t.Errorf("TTL %v: %d other requests, want the grant and the record", ttl, n)
			}
			if got := stateNames(r.states()); got != "down>live " {
				t.Errorf("TTL %v: states %s", ttl, got)
			}
		})
	}
}

func TestFailedRenewalIsRepeatedEveryTenthOfTheTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, ttl)
		r.etcd.let(renews, refused(errAway))
		time.Sleep(trusted - time.Millisecond)
		seen := r.etcd.seen(renews)
		if len(seen) < 5 {
			t.Fatalf("%d attempts before the deadline", len(seen))
		}
		even := true
		for i := 1; i < len(seen); i++ {
			gap := seen[i].at - seen[i-1].at
			if gap < ttl/10*8/10 || gap > ttl/10*12/10 {
				t.Errorf("attempt %d after %v, want %v give or take a fifth", i, gap, ttl/10)
			}
			even = even && gap == seen[1].at-seen[0].at
		}
		if even {
			t.Error("attempts have no jitter")
		}
	})
}

func TestOneRenewalAtATimeEachWithATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, ttl)
		r.etcd.let(renews, swallowed)
		for range 3 {
			go r.Current().Renew(t.Context())
		}
		time.Sleep(ttl)
		if n := r.etcd.atOnce(renews); n != 1 {
			t.Errorf("%d renewals at one time", n)
		}
		for _, s := range r.etcd.seen(renews) {
			if s.timeout > ttl/4 {
				t.Errorf("renewal at %v has a timeout of %v, want %v", s.at, s.timeout, ttl/4)
			}
		}
	})
}

// With 2 s the moment falls into the time of a request.
func TestSuspectWhenARenewalIsOverdueAndLiveAgainAfterOne(t *testing.T) {
	for _, ttl := range []time.Duration{2 * time.Second, ttl} {
		for name, be := range map[string]fate{"swallowed": swallowed, "refused": refused(errAway)} {
			t.Run(name+" "+ttl.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := start(t, ttl)
					r.etcd.let(renews, be)
					overdue := suspectAt(deadline(0, ttl), ttl)
					time.Sleep(overdue - time.Millisecond)
					if got := r.State(); got != Live || r.Healthy() != nil {
						t.Errorf("%v and %v before it is overdue", got, r.Healthy())
					}
					time.Sleep(2 * time.Millisecond)
					synctest.Wait()
					if got := r.State(); got != Suspect {
						t.Errorf("state %v when overdue", got)
					}
					if err := r.Healthy(); err == nil || !strings.Contains(err.Error(), "overdue") {
						t.Errorf("Healthy when overdue: %v", err)
					}
					r.etcd.let(renews, nil)
					time.Sleep(ttl/4 + ttl/8)
					synctest.Wait()
					if got := r.State(); got != Live || r.Healthy() != nil {
						t.Errorf("%v and %v after a renewal", got, r.Healthy())
					}
					states := r.states()
					if got := stateNames(states); got != "down>live live>suspect suspect>live " {
						t.Fatalf("states %s", got)
					}
					if !near(states[1].at, overdue) {
						t.Errorf("suspect told at %v, want %v", states[1].at, overdue)
					}
					if states[1].cause == nil || states[2].cause != nil {
						t.Errorf("causes %v and %v, want one for the worse and none for the better", states[1].cause, states[2].cause)
					}
				})
			})
		}
	}
}

func TestLostAtTheDeadlineWithErrExpired(t *testing.T) {
	for name, be := range map[string]fate{"swallowed": swallowed, "refused": refused(errAway), "unanswerable": unanswerable} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := start(t, ttl)
				e := r.Current()
				r.etcd.let(renews, be)
				r.etcd.let(grants, refused(errAway))
				held := r.hold(e)
				time.Sleep(trusted - time.Millisecond)
				synctest.Wait()
				if cause, _ := held.told(); cause != nil || e.Err() != nil {
					t.Fatalf("lost before the deadline: %v, %v", cause, e.Err())
				}
				time.Sleep(5 * time.Millisecond)
				synctest.Wait()
				if cause, at := held.told(); cause != ErrExpired || !near(at, trusted) {
					t.Errorf("told %v at %v, want ErrExpired at %v", cause, at, trusted)
				}
				if e.Err() != ErrExpired || r.State() != Down || r.Current() != nil {
					t.Errorf("%v, %v, %v after the deadline", e.Err(), r.State(), r.Current())
				}
				states := r.states()
				last := states[len(states)-1]
				if !strings.HasSuffix(stateNames(states), "suspect>down ") || !errors.Is(last.cause, ErrExpired) || !errors.Is(last.cause, ErrLost) {
					t.Errorf("states %s, the last with %v", stateNames(states), last.cause)
				}
				if name == "refused" && !strings.Contains(last.cause.Error(), "connection refused") {
					t.Errorf("the cause does not tell why: %v", last.cause)
				}
			})
		})
	}
}

func TestRevokedLeaseIsNoticedAtTheNextRenewalAndReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, ttl)
		e := r.Current()
		held := r.hold(e)
		r.etcd.revokeByHand(e.ID())
		time.Sleep(ttl/3 + time.Millisecond)
		synctest.Wait()
		cause, _ := held.told()
		if cause != ErrRevoked || e.Err() != ErrRevoked {
			t.Fatalf("told %v, Err %v, want ErrRevoked", cause, e.Err())
		}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		next := r.Current()
		if next == nil || next.ID() == e.ID() || r.State() != Live {
			t.Fatalf("no other lease 100 ms later: %v", r.State())
		}
		if e.Err() != ErrRevoked {
			t.Errorf("what was held came back: %v", e.Err())
		}
		if got := stateNames(r.states()); got != "down>live live>down down>live " {
			t.Errorf("states %s", got)
		}
		if n := r.etcd.standing(); n != 1 {
			t.Errorf("%d leases stand", n)
		}
	})
}

func TestLossDoesNotWaitForARenewalUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, ttl)
		e := r.Current()
		r.etcd.let(renews, swallowed)
		time.Sleep(ttl/3 + time.Second) // into the time of a request
		e.Gone()
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if next := r.Current(); next == nil || next.ID() == e.ID() {
			t.Errorf("no other lease 100 ms after the loss")
		}
	})
}

func TestNoticesSuspendBeforeAnyTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, ttl)
		e := r.Current()
		r.clock.suspend(trusted)
		if got := r.State(); got != Down {
			t.Errorf("state %v", got)
		}
		if err := e.Err(); err != ErrExpired {
			t.Errorf("Err %v", err)
		}
		if err := r.Healthy(); err == nil {
			t.Error("healthy")
		}
	})
}

func TestSuspendEndsHoldsSoonAfterTheMachineWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, 24*time.Hour)
		lost := make(chan error, 1)
		r.Current().OnLoss(t, func(err error) { lost <- err })
		time.Sleep(time.Minute)
		r.clock.suspend(30 * time.Hour)
		woke := time.Now()
		if err := <-lost; err != ErrExpired {
			t.Errorf("cause %v", err)
		}
		if took := time.Since(woke); took > time.Second {
			t.Errorf("told %v after waking", took)
		}
	})
}
