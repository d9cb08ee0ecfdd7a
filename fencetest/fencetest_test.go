package fencetest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/fenceline/fenceline/fencetest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestHoldLastsForAnHourAndEndsWithItsLease(t *testing.T) {
	bubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		s := etcd.Session(t)
		l, err := lock.New(s, "x").Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour) // of virtual time
		if err := l.Context().Err(); err != nil {
			t.Errorf("after an hour: %v", err)
		}
		etcd.Expire(s.Lease())
		<-l.Context().Done()
		if err := context.Cause(l.Context()); !errors.Is(err, session.ErrLost) {
			t.Errorf("after its lease had expired: %v", err)
		}
	})
}

func TestThousandAcquisitionsInABubbleAreTwoRequestsEach(t *testing.T) {
	began := time.Now()
	bubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		m := lock.New(etcd.Session(t), "x")
		opened := etcd.Requests()
		for range 1000 {
			l, err := m.Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n := etcd.Requests() - opened; n != 2000 {
			t.Errorf("%d requests", n)
		}
	})
	t.Logf("%v", time.Since(began))
}

func TestEtcdRunsInRealTimeOutsideOfABubble(t *testing.T) {
	t.Parallel()
	etcd := fencetest.Start(t, fencetest.WithMembers(3))
	c := etcd.Client(t)
	if _, err := c.Put(t.Context(), "k", "v"); err != nil {
		t.Fatal(err)
	}
	if v, ok := etcd.Get("k"); v != "v" || !ok {
		t.Errorf("%q, %v", v, ok)
	}
}

// put puts within some virtual seconds, and says how long that took.
func put(c *clientv3.Client, within time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	began := time.Now()
	_, err := c.Put(ctx, "k", "v")
	return time.Since(began), err
}

func TestFatesOfARequest(t *testing.T) {
	for name, c := range map[string]struct {
		fate  fencetest.Fate
		after time.Duration
		fails bool
		done  bool // by the end of the sender's patience
		late  bool // a while after
	}{
		"nothing":     {fencetest.Fate{}, 0, false, true, true},
		"delay":       {fencetest.Fate{Delay: time.Second, AnswerDelay: time.Second}, 2 * time.Second, false, true, true},
		"lost":        {fencetest.Fate{Lost: true}, 5 * time.Second, true, false, false},
		"answer lost": {fencetest.Fate{AnswerLost: true}, 5 * time.Second, true, true, true},
		"broken":      {fencetest.Fate{Lost: true, Broken: true}, 0, true, false, false},
		"too late":    {fencetest.Fate{TooLate: true, Delay: time.Second}, 5 * time.Second, true, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
				client := etcd.Client(t)
				etcd.Decide(func(q fencetest.Request) fencetest.Fate {
					if q.Method != "Put" || q.Node != "client-1" {
						t.Errorf("%s of %s", q.Method, q.Node)
					}
					return c.fate
				})
				took, err := put(client, 5*time.Second)
				if took != c.after || (err != nil) != c.fails {
					t.Errorf("%v after %v", err, took)
				}
				if _, done := etcd.Get("k"); done != c.done {
					t.Errorf("done: %v", done)
				}
				time.Sleep(2 * time.Second) // of virtual time
				if _, done := etcd.Get("k"); done != c.late {
					t.Errorf("done later: %v", done)
				}
				if n := len(etcd.Faults()); (n > 0) != (c.fate != fencetest.Fate{}) {
					t.Errorf("%v", etcd.Faults())
				}
			})
		})
	}
}

func TestFaultsOfANodeMeetItAloneAndEndWithHeal(t *testing.T) {
	for name, fault := range map[string]func(n *fencetest.Node){
		"cut":    func(n *fencetest.Node) { n.Cut(fencetest.Both) },
		"in":     func(n *fencetest.Node) { n.Cut(fencetest.In) },
		"out":    func(n *fencetest.Node) { n.Cut(fencetest.Out) },
		"freeze": (*fencetest.Node).Freeze,
		"refuse": (*fencetest.Node).Refuse,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
				n, other := etcd.Node("n"), etcd.Client(t)
				c := n.Client(t)
				if _, err := put(c, time.Second); err != nil {
					t.Fatal(err)
				}
				fault(n)
				etcd.Delete("k")
				if _, err := put(c, 10*time.Second); err == nil {
					t.Error("it gets through")
				}
				if _, done := etcd.Get("k"); done != (name == "in") { // then only the answer is missing
					t.Errorf("done: %v", done)
				}
				if took, err := put(other, time.Second); err != nil || took > 0 {
					t.Errorf("another node: %v after %v", err, took)
				}
				n.Heal()
				if _, err := put(c, 30*time.Second); err != nil {
					t.Errorf("after Heal: %v", err)
				}
			})
		})
	}
}

func TestWatchesFallSilentOrEnd(t *testing.T) {
	bubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		n := etcd.Node("n")
		events := n.Client(t).Watch(t.Context(), "k")
		synctest.Wait()
		n.Silence()
		etcd.Put("k", "1")
		synctest.Wait()
		select {
		case resp := <-events:
			t.Errorf("a silent watch tells %v", resp)
		default:
		}
		n.EndWatches() // etcd's client begins anew, where it was
		if resp := <-events; len(resp.Events) != 1 || string(resp.Events[0].Kv.Value) != "1" {
			t.Errorf("%v", resp)
		}
	})
}

func TestResetEndsWhatIsOnItsWayAndNothingLater(t *testing.T) {
	bubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		n := etcd.Node("n")
		c := n.Client(t)
		etcd.Decide(func(q fencetest.Request) fencetest.Fate { return fencetest.Fate{AnswerDelay: time.Hour} })
		failed := make(chan error, 1)
		go func() {
			_, err := put(c, 2*time.Hour)
			failed <- err
		}()
		time.Sleep(time.Second)
		etcd.Decide(nil)
		n.Reset()
		began := time.Now()
		if err := <-failed; err == nil || time.Since(began) > time.Minute { // etcd's client does not repeat a put
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if _, err := put(c, 30*time.Second); err != nil {
			t.Errorf("after it: %v", err)
		}
	})
}

func TestRevokeEndsALeaseForItsSessionToo(t *testing.T) {
	bubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		s := etcd.Session(t)
		l, err := lock.New(s, "x").Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		lease := s.Lease()
		etcd.Revoke(lease)
		if slices.Contains(etcd.Leases(), lease) {
			t.Error("it stands")
		}
		for _, kv := range etcd.Keys() {
			if clientv3.LeaseID(kv.Lease) == lease {
				t.Errorf("%s is left", kv.Key)
			}
		}
		<-l.Context().Done()
		if err := context.Cause(l.Context()); !errors.Is(err, session.ErrLost) {
			t.Error(err)
		}
	})
}

func TestCompactForgetsHistoryAndNoKey(t *testing.T) {
	bubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		c := etcd.Client(t)
		for range 3 {
			if _, err := put(c, time.Second); err != nil {
				t.Fatal(err)
			}
		}
		etcd.Compact()
		if _, err := c.Get(t.Context(), "k", clientv3.WithRev(2)); !errors.Is(err, rpctypes.ErrCompacted) {
			t.Errorf("what was compacted: %v", err)
		}
		if resp := <-c.Watch(t.Context(), "k", clientv3.WithRev(2)); !errors.Is(resp.Err(), rpctypes.ErrCompacted) || resp.CompactRevision != etcd.Revision() {
			t.Errorf("a watch of it: %v, compacted at %d", resp.Err(), resp.CompactRevision)
		}
		if resp, err := c.Get(t.Context(), "k"); err != nil || len(resp.Kvs) != 1 || resp.Kvs[0].Version != 3 {
			t.Errorf("what stands: %v, %v", resp, err)
		}
	})
}

func TestLeaseEndsAtAScanWithAllItsKeysAtOneRevision(t *testing.T) {
	bubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		c, ctx := etcd.Client(t), t.Context()
		time.Sleep(1200 * time.Millisecond) // of virtual time, so that nothing falls on a scan
		lease, err := c.Grant(ctx, 1)
		if err != nil || lease.TTL != 2 { // etcd's least
			t.Fatalf("%v, %v", lease, err)
		}
		for _, key := range []string{"a", "b"} {
			if _, err := c.Put(ctx, key, "", clientv3.WithLease(lease.ID)); err != nil {
				t.Fatal(err)
			}
		}
		var ranOut time.Duration
		etcd.OnExpiry(func(clientv3.LeaseID) { ranOut = etcd.Now() })
		resp := <-c.Watch(ctx, "a", clientv3.WithFromKey(), clientv3.WithFilterPut())
		if len(resp.Events) != 2 || resp.Events[0].Kv.ModRevision != resp.Events[1].Kv.ModRevision {
			t.Errorf("%v", resp.Events)
		}
		if ranOut != 3500*time.Millisecond {
			t.Errorf("after %v", ranOut)
		}
	})
}

func TestChangeOfLeaderGivesLeasesTheirTimeAgain(t *testing.T) {
	bubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		c := etcd.Client(t)
		if _, err := c.Grant(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		time.Sleep(9 * time.Second) // of virtual time
		etcd.ChangeLeader(3 * time.Second)
		if took, err := put(c, 10*time.Second); err != nil || took != 3*time.Second {
			t.Errorf("without a leader: %v after %v", err, took)
		}
		time.Sleep(10 * time.Second)
		if len(etcd.Leases()) != 1 {
			t.Error("its time was not given again")
		}
		time.Sleep(2 * time.Second)
		if len(etcd.Leases()) != 0 {
			t.Error("it lives for longer than that")
		}
	})
}

func TestEtcdGoesAndComesBackWithWhatItHad(t *testing.T) {
	bubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		c := etcd.Client(t)
		if _, err := put(c, time.Second); err != nil {
			t.Fatal(err)
		}
		etcd.Stop()
		if _, err := put(c, 5*time.Second); err == nil {
			t.Error("an etcd that is away answers")
		}
		etcd.Resume()
		if _, err := put(c, 30*time.Second); err != nil {
			t.Error(err)
		}
	})
}

func TestRestoredEtcdUsesRevisionsAgain(t *testing.T) {
	bubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		s := etcd.Session(t)
		etcd.Put("k", "before")
		b, revision := etcd.Backup(), etcd.Revision()
		l, err := lock.New(s, "x").Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		etcd.Put("k", "after")
		etcd.Restore(b)
		if v, _ := etcd.Get("k"); v != "before" || etcd.Revision() != revision {
			t.Errorf("%q at %d", v, etcd.Revision())
		}
		select {
		case <-l.Context().Done():
		case <-time.After(time.Minute):
			t.Error("a hold outlives what it stood on")
		}
	})
}

func TestMemberThatLagsIsOldForThoseWhoTakeThat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t, fencetest.WithMembers(3))
		etcd.Put("k", "old")
		for m := range 3 {
			etcd.Lag(m + 1)
		}
		etcd.Put("k", "new")
		c := etcd.Client(t)
		resp, err := c.Get(t.Context(), "k", clientv3.WithSerializable())
		if err != nil || string(resp.Kvs[0].Value) != "old" {
			t.Errorf("serializable: %v, %v", resp, err)
		}
		got := make(chan string, 1)
		go func() {
			if resp, err := c.Get(t.Context(), "k"); err == nil {
				got <- string(resp.Kvs[0].Value)
			}
		}()
		synctest.Wait()
		if len(got) > 0 {
			t.Error("it answers what it has not applied")
		}
		for m := range 3 {
			etcd.CatchUp(m + 1)
		}
		if v := <-got; v != "new" {
			t.Errorf("linearizable: %s", v)
		}
	})
}

func TestNoSpaceRefusesWhatTakesSpace(t *testing.T) {
	bubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		c, ctx := etcd.Client(t), t.Context()
		etcd.SetNoSpace(true)
		if _, err := put(c, time.Second); err == nil || !strings.Contains(err.Error(), "database space exceeded") {
			t.Errorf("put: %v", err)
		}
		if _, err := c.Grant(ctx, 5); err == nil {
			t.Error("a lease is granted")
		}
		if _, err := c.Delete(ctx, "k"); err != nil {
			t.Errorf("delete: %v", err)
		}
		etcd.SetNoSpace(false)
		if _, err := put(c, time.Second); err != nil {
			t.Error(err)
		}
	})
}

func TestUserWhoseTokenIsForgottenLogsInAgain(t *testing.T) {
	bubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		admin, ctx := etcd.Client(t), t.Context()
		for _, f := range []func() error{
			func() error { _, err := admin.UserAdd(ctx, "root", "r"); return err },
			func() error { _, err := admin.UserGrantRole(ctx, "root", "root"); return err },
			func() error { _, err := admin.AuthEnable(ctx); return err },
		} {
			if err := f(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := put(admin, time.Second); err == nil {
			t.Error("nobody has logged in, and may put")
		}
		c := etcd.Client(t, func(c *clientv3.Config) { c.Username, c.Password = "root", "r" })
		for range 2 {
			if _, err := put(c, 5*time.Second); err != nil {
				t.Error(err)
			}
			etcd.ForgetTokens()
		}
	})
}

func TestSkewedClockTellsAnotherTime(t *testing.T) {
	bubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		fast := etcd.Node("fast")
		fast.Skew(2)
		s, ctx := fast.Session(t, session.WithTTL(10*time.Second)), t.Context()
		l, err := lock.New(s, "x").Acquire(ctx)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		fast.Freeze()
		<-l.Context().Done()
		if d := time.Since(began); d > 6*time.Second {
			t.Errorf("it took ten seconds for %v", d)
		}
		fast.Thaw()
	})
}

func TestTranscriptTellsWhoDidWhat(t *testing.T) {
	bubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		c := etcd.Node("writer").Client(t)
		if _, err := put(c, time.Second); err != nil {
			t.Fatal(err)
		}
		said := etcd.Transcript()
		for _, want := range []string{"writer     #1 Put k = v", "rev 2      put k = v"} {
			if !strings.Contains(said, want) {
				t.Errorf("no %q in\n%s", want, said)
			}
		}
		if all := etcd.Events(); len(all) != 1 || all[0].Revision != 2 || string(all[0].Kv.Key) != "k" {
			t.Errorf("%v", all)
		}
	})
}

func TestMemberThatDoesNotExistIsSaid(t *testing.T) {
	bubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		defer func() {
			if said := fmt.Sprint(recover()); !strings.Contains(said, "member 2: there are 1") {
				t.Error(said)
			}
		}()
		etcd.Lag(2)
	})
}
