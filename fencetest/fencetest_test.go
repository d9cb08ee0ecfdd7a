package fencetest_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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
