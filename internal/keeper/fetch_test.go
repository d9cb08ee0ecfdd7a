package keeper

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/fenceline/fenceline/internal/etcd"
)

func ids(rs []request) map[any]bool {
	m := map[any]bool{}
	for _, r := range rs {
		m[r.id] = true
	}
	return m
}

func TestGrantWhoseAnswerWasLostIsAskedForAgainByTheSameID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.etcd.let(grants, inTurn(unanswerable, refused(errAway), unanswerable))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := r.open(ctx, ttl); err != nil {
			t.Fatal(err)
		}
		defer r.Close(t.Context())
		seen := r.etcd.seen(grants)
		if len(seen) != 4 || len(ids(seen)) != 1 {
			t.Errorf("%d grants by %d IDs, want 4 by one", len(seen), len(ids(seen)))
		}
		if n := r.etcd.standing(); n != 1 {
			t.Errorf("%d leases stand", n)
		}
	})
}

func TestRecordIsWrittenAgainWithoutAnotherLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.etcd.let(records, inTurn(refused(errAway), refused(errAway)))
		if err := r.open(t.Context(), ttl); err != nil {
			t.Fatal(err)
		}
		defer r.Close(t.Context())
		if g, n := len(r.etcd.seen(grants)), len(r.etcd.seen(records)); g != 1 || n != 3 {
			t.Errorf("%d grants and %d records, want 1 and 3", g, n)
		}
	})
}

func TestLeaseThatIsGoneBeforeItsRecordIsReplaced(t *testing.T) {
	for name, be := range map[string]fate{
		"revoked": inTurn(refused(ErrRevoked)),
		"expired": inTurn(unanswerable, unanswerable),
		"over":    inTurn(answeredAfter(1750 * time.Millisecond)), // not in etcd yet, but here
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig()
				r.etcd.let(records, be)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := r.open(ctx, 2*time.Second); err != nil {
					t.Fatal(err)
				}
				defer r.Close(t.Context())
				if r.State() != Live {
					t.Errorf("opened %v", r.State())
				}
				seen := r.etcd.seen(grants)
				if len(seen) < 2 || len(ids(seen)) != len(seen) {
					t.Errorf("%d grants by %d IDs, want a new one each", len(seen), len(ids(seen)))
				}
				synctest.Wait()
				if n := r.etcd.standing(); n != 1 {
					t.Errorf("%d leases stand", n)
				}
			})
		})
	}
}

func TestFirstRenewalIsDueByTheGrantNotByTheRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.etcd.let(records, answeredAfter(time.Second))
		if err := r.open(t.Context(), 2*time.Second); err != nil {
			t.Fatal(err)
		}
		defer r.Close(t.Context())
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		if n := len(r.etcd.seen(renews)); n != 1 {
			t.Errorf("%d renewals a second after the grant, want 1", n)
		}
	})
}

func TestNewLeaseIsFetchedWithJitteredBackOffForEver(t *testing.T) {
	for _, why := range []error{errAway, rpctypes.ErrNoSpace, rpctypes.ErrPermissionDenied} {
		synctest.Test(t, func(t *testing.T) {
			r := start(t, ttl)
			r.etcd.let(grants, refused(why))
			r.Current().Gone()
			time.Sleep(time.Hour)
			seen := r.etcd.seen(grants)[1:]
			if n := len(seen); n < 1200 || n > 2500 {
				t.Errorf("%v: %d attempts in an hour, want one every 2 s or so", why, n)
			}
			if gap := seen[1].at - seen[0].at; gap > 75*time.Millisecond {
				t.Errorf("%v: second attempt after %v", why, gap)
			}
			least, longest := time.Hour, time.Duration(0)
			for i := 100; i < len(seen); i++ {
				gap := seen[i].at - seen[i-1].at
				least, longest = min(least, gap), max(longest, gap)
			}
			if least < time.Second || longest > 3*time.Second || longest-least < time.Second {
				t.Errorf("%v: attempts after %v to %v, want 1 s to 3 s", why, least, longest)
			}
			if err := r.Healthy(); !errors.Is(err, why) {
				t.Errorf("Healthy does not tell why: %v", err)
			}
			r.etcd.let(grants, nil)
			time.Sleep(3 * time.Second)
			if got := r.State(); got != Live {
				t.Errorf("%v: state %v afterwards", why, got)
			}
		})
	}
}

func TestOpenIsBounded(t *testing.T) {
	for name, be := range map[string]fate{"swallowed": swallowed, "refused": refused(errAway)} {
		for _, deadline := range []time.Duration{0, time.Second, 20 * time.Second} {
			synctest.Test(t, func(t *testing.T) {
				r := newRig()
				r.etcd.let(grants, be)
				r.etcd.let(revokes, be)
				ctx, want := t.Context(), etcd.AnswerWithin
				if deadline > 0 {
					c, cancel := context.WithTimeout(ctx, deadline)
					defer cancel()
					ctx, want = c, deadline
				}
				err := r.open(ctx, ttl)
				if took := time.Since(r.etcd.start); took > want+grace || took < want {
					t.Errorf("%s: Open with %v returned after %v", name, deadline, took)
				}
				if err == nil || !strings.Contains(err.Error(), endpoint) {
					t.Errorf("%s: %v does not name the endpoint", name, err)
				}
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%s: %v does not tell that the time is over", name, err)
				}
				if name == "refused" && !strings.Contains(err.Error(), "connection refused") {
					t.Errorf("%v does not tell why", err)
				}
				if n := strings.Count(err.Error(), "deadline exceeded"); n > 1 {
					t.Errorf("%q says so %d times", err, n)
				}
			})
		}
	}
}

func TestOpenTellsTheReasonFromBeforeItsTimeWasOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.etcd.let(grants, inTurn(refused(errAway), swallowed))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.open(ctx, ttl); err == nil || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("Open: %v", err)
		}
	})
}

func TestOpenWithAnEndedCtxAsksNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		cause := errors.New("changed my mind")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		if err := r.open(ctx, ttl); !errors.Is(err, cause) {
			t.Errorf("Open: %v", err)
		}
		if n := r.etcd.all(); n != 0 {
			t.Errorf("%d requests", n)
		}
	})
}

func TestOpenThatFailsLeavesNoLease(t *testing.T) {
	cases := map[string]func(*fakeEtcd){
		"record refused":     func(f *fakeEtcd) { f.let(records, refused(rpctypes.ErrPermissionDenied)) },
		"record swallowed":   func(f *fakeEtcd) { f.let(records, swallowed) },
		"grant unanswerable": func(f *fakeEtcd) { f.let(grants, unanswerable) },
	}
	for name, prepare := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig()
				prepare(r.etcd)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := r.open(ctx, ttl); err == nil {
					t.Fatal("no error")
				}
				if n := r.etcd.standing(); n != 0 {
					t.Errorf("%d leases stand when Open returns", n)
				}
			})
		})
	}
}

func TestOpenThatIsRefusedReturnsAtOnce(t *testing.T) {
	for _, why := range []error{rpctypes.ErrPermissionDenied, rpctypes.ErrNoSpace, rpctypes.ErrAuthFailed, rpctypes.ErrUserEmpty} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig()
			r.etcd.let(grants, refused(why))
			if err := r.open(t.Context(), ttl); !errors.Is(err, why) {
				t.Errorf("Open: %v, want %v", err, why)
			}
			if took := time.Since(r.etcd.start); took != 0 || r.etcd.all() != 1 {
				t.Errorf("%v: %d requests in %v", why, r.etcd.all(), took)
			}
		})
	}
}

func TestOneRequestIsBoundedWhateverTheTTL(t *testing.T) {
	for ttl, want := range map[time.Duration]time.Duration{
		2 * time.Second: 2 * time.Second, 16 * time.Second: 4 * time.Second, time.Minute: 10 * time.Second, 24 * time.Hour: 10 * time.Second,
	} {
		k := &Keeper{Config: Config{TTL: ttl}}
		if got := k.RequestTimeout(); got != want {
			t.Errorf("TTL %v: %v, want %v", ttl, got, want)
		}
	}
}
