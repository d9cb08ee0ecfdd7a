package election_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

// open is a session of its own process, as it were.
func open(t testing.TB, client *clientv3.Client, opts ...session.Option) *session.Session {
	t.Helper()
	s, err := session.Open(t.Context(), client, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func campaign(t testing.TB, e *election.Election, value string) *election.Term {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	term, err := e.Campaign(ctx, value)
	if err != nil {
		t.Fatal(err)
	}
	return term
}

// campaigning campaigns in a goroutine and waits until the candidate stands.
func campaigning(t testing.TB, client *clientv3.Client, name string, e *election.Election, value string) <-chan *election.Term {
	t.Helper()
	got := make(chan *election.Term, 1)
	go func() {
		term, err := e.Campaign(t.Context(), value)
		if err != nil && t.Context().Err() == nil {
			t.Errorf("Campaign: %v", err)
		}
		got <- term
	}()
	etcdtest.Eventually(t, 5*time.Second, value+" among the candidates", func() bool {
		return slices.Contains(values(t, client, name), value)
	})
	return got
}

func values(t testing.TB, client *clientv3.Client, name string) []string {
	t.Helper()
	cs, err := election.Candidates(t.Context(), client, name)
	if err != nil {
		t.Fatal(err)
	}
	var vs []string
	for _, c := range cs {
		vs = append(vs, c.Value)
	}
	return vs
}

func stands(t testing.TB, client *clientv3.Client, name string, want ...string) {
	t.Helper()
	var got []string
	ok := func() bool { got = values(t, client, name); return slices.Equal(got, want) }
	for deadline := time.Now().Add(5 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("candidates %v, want %v", got, want)
		}
	}
}

func resign(t testing.TB, term *election.Term) {
	t.Helper()
	if err := term.Resign(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func waits(t testing.TB, who string, got <-chan *election.Term) {
	t.Helper()
	select {
	case <-got:
		t.Fatalf("%s leads beside another", who)
	case <-time.After(50 * time.Millisecond):
	}
}

func TestCandidatesLeadInTheOrderOfTheirArrival(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	first := campaign(t, election.New(open(t, client), name), "a")
	b := campaigning(t, client, name, election.New(open(t, client), name), "b")
	s := open(t, client)
	c := campaigning(t, client, name, election.New(s, name), "c")
	d := campaigning(t, client, name, election.New(s, name), "d") // of the same Session
	stands(t, client, name, "a", "b", "c", "d")
	waits(t, "b", b)
	last := first.Token()
	resign(t, first)
	for who, got := range []<-chan *election.Term{b, c, d} {
		term := <-got
		if term.Token() <= last {
			t.Errorf("candidate %d: token %d after %d", who, term.Token(), last)
		}
		last = term.Token()
		if leader, err := election.Current(t.Context(), client, name); err != nil || leader.Key != term.Key() || leader.Token != last {
			t.Errorf("leader %v, %v; the term is %s", leader, err, term.Key())
		}
		resign(t, term)
	}
	stands(t, client, name)
}

func TestProclaimChangesTheValueAndNothingElse(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	term := campaign(t, election.New(open(t, client), name), "first")
	key, token, guard := term.Key(), term.Token(), term.Guard()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := term.Proclaim(t.Context(), fmt.Sprint(i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := term.Proclaim(t.Context(), "last"); err != nil {
		t.Fatal(err)
	}
	leader, err := election.Current(t.Context(), client, name)
	if err != nil || leader != (election.Leader{Value: "last", Token: token, Key: key}) {
		t.Errorf("%+v, %v", leader, err)
	}
	if resp, err := client.Txn(t.Context()).If(guard...).Commit(); err != nil || !resp.Succeeded {
		t.Errorf("the guard does not hold: %v", err)
	}
	if term.Context().Err() != nil {
		t.Error(context.Cause(term.Context()))
	}
	resign(t, term)
	if err := term.Proclaim(t.Context(), "late"); !errors.Is(err, session.ErrNotHeld) {
		t.Errorf("Proclaim after Resign: %v", err)
	}
	stands(t, client, name)
}

func TestLeaseRevokedWhileWaitingMakesNoPhantomLeader(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	first := campaign(t, election.New(open(t, client), name), "a")
	s := open(t, client)
	b := campaigning(t, client, name, election.New(s, name), "b")
	c := campaigning(t, client, name, election.New(open(t, client), name), "c")
	if _, err := client.Revoke(t.Context(), s.Lease()); err != nil {
		t.Fatal(err)
	}
	stands(t, client, name, "a", "c", "b") // it stands again, at the back
	resign(t, first)
	resign(t, <-c)
	term := <-b
	if leader, err := election.Current(t.Context(), client, name); err != nil || leader.Key != term.Key() {
		t.Errorf("etcd says that %v leads, %v", leader, err)
	}
	resign(t, term)
}

func TestOwnEntryDeletedWhileWaitingStandsAgain(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	first := campaign(t, election.New(open(t, client), name), "a")
	b := campaigning(t, client, name, election.New(open(t, client), name), "b")
	cs, err := election.Candidates(t.Context(), client, name)
	if err != nil || len(cs) != 2 {
		t.Fatal(cs, err)
	}
	if _, err := client.Delete(t.Context(), cs[1].Key); err != nil {
		t.Fatal(err)
	}
	etcdtest.Eventually(t, 5*time.Second, "a new entry", func() bool {
		now, err := election.Candidates(t.Context(), client, name)
		return err == nil && len(now) == 2 && now[1].Token > cs[1].Token
	})
	waits(t, "b", b)
	resign(t, first)
	resign(t, <-b)
}

func TestCompactionWhileWaitingIsSurvived(t *testing.T) {
	etcd := etcdtest.Start(t)
	client, name := etcd.Client(t), etcdtest.Name(t)
	first := campaign(t, election.New(open(t, client), name), "a")
	b := campaigning(t, client, name, election.New(open(t, client), name), "b")
	for range 5 {
		if _, err := client.Put(t.Context(), "x", ""); err != nil {
			t.Fatal(err)
		}
		etcdtest.Compact(t, client)
	}
	waits(t, "b", b)
	resign(t, first)
	resign(t, <-b)
	stands(t, client, name)
}

func TestCancelledCampaignLeavesNoCandidate(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	first := campaign(t, election.New(open(t, client), name), "a")
	s := open(t, client)
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(10_000))*time.Microsecond)
			defer cancel()
			if _, err := election.New(s, name).Campaign(ctx, "z"); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	stands(t, client, name, "a")
	resign(t, first)
	for range 30 { // and when it may be granted at that moment
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(2000))*time.Microsecond)
		term, err := election.New(s, name).Campaign(ctx, "z")
		cancel()
		if err == nil {
			resign(t, term)
		}
	}
	stands(t, client, name)
}

func TestFailedResignCanBeRepeated(t *testing.T) {
	etcd := etcdtest.Start(t)
	direct, name := etcd.Client(t), etcdtest.Name(t)
	proxy := etcdtest.NewProxy(t, etcd)
	term := campaign(t, election.New(open(t, proxy.Client(t)), name), "a")
	proxy.Blackhole()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := term.Resign(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without an answer: %v", err)
	}
	if term.Context().Err() == nil {
		t.Error("the term goes on, though it was resigned")
	}
	stands(t, direct, name, "a")
	proxy.Heal()
	if err := term.Resign(t.Context()); err != nil {
		t.Errorf("repeated: %v", err)
	}
	stands(t, direct, name)
	if err := term.Resign(t.Context()); !errors.Is(err, session.ErrNotHeld) {
		t.Errorf("once more: %v", err)
	}
}

func TestIsLeaderAnswersFromMemoryAndLooksAtTheClock(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s := open(t, client)
	e := election.New(s, name)
	if err := e.IsLeader(t.Context()); !errors.Is(err, election.ErrNotLeader) {
		t.Errorf("before: %v", err)
	}
	term := campaign(t, e, "a")
	if err := e.IsLeader(t.Context()); err != nil {
		t.Errorf("as leader: %v", err)
	}
	if _, err := client.Revoke(t.Context(), s.Lease()); err != nil {
		t.Fatal(err)
	}
	<-term.Context().Done()
	if err := e.IsLeader(t.Context()); !errors.Is(err, election.ErrNotLeader) {
		t.Errorf("after the loss: %v", err)
	}
}

func TestTermsNeverOverlapInAStorm(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Second)
	defer stop()
	var inside atomic.Int32
	var terms, last atomic.Int64
	var wg sync.WaitGroup
	for i := range 6 {
		s := open(t, client)
		wg.Go(func() {
			for ctx.Err() == nil {
				patience, cancel := context.WithTimeout(ctx, time.Duration(rand.IntN(100))*time.Millisecond)
				e := election.New(s, name, election.WithPriority(rand.IntN(3)))
				term, err := e.Campaign(patience, fmt.Sprint(i))
				cancel()
				if err != nil {
					if patience.Err() == nil {
						t.Error(err)
					}
					continue
				}
				terms.Add(1)
				if inside.Add(1) != 1 {
					t.Error("two lead")
				}
				if token := int64(term.Token()); last.Swap(token) >= token {
					t.Error("a token that does not grow")
				}
				if rand.IntN(3) == 0 {
					if err := term.Proclaim(t.Context(), "still "+fmt.Sprint(i)); err != nil {
						t.Error(err)
					}
				}
				inside.Add(-1)
				cs, err := election.Candidates(t.Context(), client, name)
				if err == nil && len(cs) > 1 && rand.IntN(2) == 0 {
					to := cs[1+rand.IntN(len(cs)-1)].Key
					if err := term.TransferTo(t.Context(), to); err != nil && !errors.Is(err, election.ErrTransfer) {
						t.Error(err)
					} else if err == nil {
						continue
					}
				}
				if err := term.Resign(context.Background()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if terms.Load() < 20 {
		t.Errorf("%d terms", terms.Load())
	}
	stands(t, client, name)
	if keys := etcdtest.Keys(t, client, "fenceline/election/"+name+"/"); len(keys) != 0 {
		t.Errorf("left: %v", keys)
	}
}

func TestInvalidElectionIsAnErrorBeforeAnyRequest(t *testing.T) {
	s := open(t, etcdtest.Shared(t).Client(t))
	for _, e := range []*election.Election{
		election.New(s, ""), election.New(s, "a\n"), election.New(s, "a", election.WithPrefix("")), election.New(s, "a", election.WithPrefix("fenceline")),
	} {
		if _, err := e.Campaign(t.Context(), ""); !errors.Is(err, session.ErrInvalidName) && !strings.Contains(fmt.Sprint(err), "namespace") {
			t.Errorf("Campaign: %v", err)
		}
		if err := e.Lead(t.Context(), "", nil); err == nil {
			t.Error("Lead: no error")
		}
		if err := e.IsLeader(t.Context()); err == nil || errors.Is(err, election.ErrNotLeader) {
			t.Errorf("IsLeader: %v", err)
		}
	}
}
