package keeper

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// takeAll takes leases for n entries at once.
func takeAll(r *rig, n int) map[clientv3.LeaseID]int {
	var mu sync.Mutex
	var wg sync.WaitGroup
	on := map[clientv3.LeaseID]int{}
	for range n {
		wg.Go(func() {
			id := r.Current().Take(r.Context())
			mu.Lock()
			defer mu.Unlock()
			on[id]++
		})
	}
	wg.Wait()
	return on
}

func TestFewEntriesHangOnOneLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, ttl)
		if on := takeAll(r, roomy-1); len(on) != 1 || len(r.etcd.seen(grants)) != 1 {
			t.Errorf("%v, %d grants", on, len(r.etcd.seen(grants)))
		}
	})
}

func TestManyEntriesSpreadOverLeasesAlsoWhenTheyComeAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, ttl)
		r.etcd.let(grants, answeredAfter(100*time.Millisecond))
		start := time.Now()
		on := takeAll(r, 40*roomy)
		for id, n := range on {
			if n > crowded {
				t.Errorf("%d entries on %x", n, id)
			}
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("took %v", took)
		}
		time.Sleep(time.Second) // what is asked for last is of no hurry
		if most := len(r.etcd.seen(grants)); most > 2*40 {
			t.Errorf("%d leases", most)
		}
		if records := len(r.etcd.seen(records)); records != len(r.etcd.seen(grants)) {
			t.Errorf("%d records under %d leases", records, len(r.etcd.seen(grants)))
		}
	})
}

func TestWhatIsGivenBackIsUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, ttl)
		for range 20 * roomy {
			r.Current().Give(r.Current().Take(t.Context()))
		}
		if n := len(r.etcd.seen(grants)); n != 1 {
			t.Errorf("%d leases", n)
		}
	})
}

func TestNoFurtherLeaseIsNoHindrance(t *testing.T) {
	for name, be := range map[string]fate{"refused": refused(errAway), "swallowed": swallowed, "unanswerable": unanswerable} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := start(t, ttl)
				r.etcd.let(grants, be)
				start := time.Now()
				if on := takeAll(r, 3*roomy); len(on) != 1 {
					t.Errorf("%v", on)
				}
				if took := time.Since(start); took > ttl/2 {
					t.Errorf("took %v", took)
				}
				time.Sleep(ttl / 2) // of those that were not given back none has expired by then
				if n := r.etcd.standing(); n != 1 {
					t.Errorf("%d leases stand", n)
				}
				time.Sleep(3 * ttl)
				if r.State() != Live {
					t.Errorf("%v", r.State())
				}
			})
		})
	}
}

func TestNobodyWaitsForAFurtherLeaseOfAnEtcdThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, ttl)
		r.etcd.let(grants, refused(errAway))
		takeAll(r, crowded)
		r.etcd.let(renews, refused(errAway))
		start := time.Now()
		takeAll(r, 1)
		if took := time.Since(start); took > time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestWaitForAFurtherLeaseEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, ttl)
		r.etcd.let(grants, refused(errAway))
		takeAll(r, crowded)
		r.etcd.let(grants, swallowed)
		e := r.Current()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		e.Take(ctx)
		if took := time.Since(start); took > 100*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

func TestDeadlineStaysUntilAllLeasesAreRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, ttl)
		takeAll(r, 4*roomy)
		synctest.Wait()
		e := r.Current()
		last := e.leases()[len(e.leases())-1].id
		sent := time.Now()
		if err := e.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.etcd.stopRenewing(last)
		time.Sleep(ttl - 2*time.Second)
		if e.Err() == nil && e.Remaining() > trusted-time.Since(sent) {
			t.Errorf("trusted for %v more", e.Remaining())
		}
		time.Sleep(2 * time.Second)
		if err := e.Err(); !errors.Is(err, ErrExpired) && !errors.Is(err, ErrRevoked) {
			t.Errorf("%v", err)
		}
	})
}

func TestRevokeOfOneLeaseIsTheLossOfAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, ttl)
		takeAll(r, 4*roomy)
		synctest.Wait()
		e := r.Current()
		all := e.leases()
		held := r.hold(e)
		r.etcd.revokeByHand(all[len(all)-1].id)
		time.Sleep(ttl / 2)
		synctest.Wait()
		if cause, _ := held.told(); !errors.Is(cause, ErrRevoked) {
			t.Errorf("told %v", cause)
		}
		if n := r.etcd.standing(); n != 1 {
			t.Errorf("%d leases stand, want that of the next epoch", n)
		}
	})
}

func TestCloseGivesAllLeasesBackAndSaysSoOnEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		if err := r.open(t.Context(), ttl); err != nil {
			t.Fatal(err)
		}
		takeAll(r, 4*roomy)
		synctest.Wait()
		leases, before := len(r.Current().leases()), len(r.etcd.seen(records))
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if n := r.etcd.standing(); n != 0 {
			t.Errorf("%d leases stand", n)
		}
		if n := len(r.etcd.seen(records)) - before; n != leases || leases < 3 {
			t.Errorf("%d of %d leases say that they were closed", n, leases)
		}
	})
}

// A further lease that is granted while the keeper closes is given back as well.
func TestCloseMeetsALeaseThatIsOnItsWay(t *testing.T) {
	for _, kind := range []string{grants, records} {
		for after := range 10 {
			synctest.Test(t, func(t *testing.T) {
				r := newRig()
				if err := r.open(t.Context(), ttl); err != nil {
					t.Fatal(err)
				}
				r.etcd.let(kind, func(_ context.Context, carryOut func() (time.Duration, error)) (time.Duration, error) {
					time.Sleep(5 * time.Millisecond) // also when nobody waits for it any more
					return carryOut()
				})
				takeAll(r, roomy)
				time.Sleep(time.Duration(after) * time.Millisecond)
				if err := r.Close(t.Context()); err != nil {
					t.Error(err)
				}
				if n := r.etcd.standing(); n != 0 {
					t.Errorf("%s answered late, closed after %d ms: %d leases stand", kind, after, n)
				}
			})
		}
	}
}

func TestNoLeaseOfAnEpochEndsBeforeItsDeadline(t *testing.T) {
	for range 10 {
		synctest.Test(t, func(t *testing.T) {
			r := start(t, ttl)
			sometimes := func(ctx context.Context, carryOut func() (time.Duration, error)) (time.Duration, error) {
				switch rand.IntN(40) {
				case 0:
					return swallowed(ctx, carryOut)
				case 1:
					return unanswerable(ctx, carryOut)
				}
				return answeredAfter(rand.N(2*time.Second))(ctx, carryOut)
			}
			for _, kind := range []string{grants, renews, records} {
				r.etcd.let(kind, sometimes)
			}
			for range 200 {
				if e := r.Current(); e != nil {
					go takeAll(r, rand.IntN(roomy))
				}
				time.Sleep(rand.N(time.Second))
				e := r.Current()
				if e == nil {
					continue
				}
				leases := e.leases()
				if e.Err() != nil {
					continue
				}
				for _, l := range leases {
					if !r.etcd.stands(l.id) {
						t.Fatalf("trusted for %v more, and a lease of %d is gone", e.Remaining(), len(leases))
					}
				}
			}
			r.etcd.let(renews, nil)
		})
	}
}
