package election_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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

func TestTransferToAFrozenCandidateChangesNothing(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	client := m.Client(t)
	a := campaign(t, election.New(open(t, client), name), "a")
	p := etcdtest.NewProxy(t, m)
	frozen, err := session.Open(t.Context(), p.Client(t), session.WithTTL(20*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	b := campaigning(t, client, name, election.New(frozen, name), "frozen")
	c := campaigning(t, client, name, election.New(open(t, client), name), "c")
	cs := candidatesOf(t, client, name)
	p.Blackhole()
	if err := a.TransferTo(t.Context(), cs[1].Key); !errors.Is(err, election.ErrTransfer) {
		t.Errorf("%v", err)
	}
	if a.Context().Err() != nil {
		t.Fatalf("the term is over: %v", context.Cause(a.Context()))
	}
	if err := a.TransferTo(t.Context(), cs[2].Key); err != nil { // c is before nobody but the frozen one, who does not step aside
		if !errors.Is(err, election.ErrTransfer) || a.Context().Err() != nil {
			t.Errorf("%v", err)
		}
	}
	p.Heal()
	resign(t, a)
	for range 2 { // in any order: the frozen one may hear of the mark only now, and step aside
		select {
		case x := <-b:
			resign(t, x)
		case x := <-c:
			resign(t, x)
		}
	}
	if err := frozen.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// stale is a candidate as etcd's own package makes one, whose process has died.
func TestTransferToADeadCandidateOfEtcdsChangesNothing(t *testing.T) {
	t.Parallel()
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	a := campaign(t, election.New(open(t, client), name), "a")
	lease, err := client.Grant(t.Context(), 6)
	if err != nil {
		t.Fatal(err)
	}
	key := fmt.Sprintf("fenceline/election/%s/%x", name, lease.ID)
	if _, err := client.Put(t.Context(), key, "dead", clientv3.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
	etcdtest.Eventually(t, 10*time.Second, "half of its time gone", func() bool {
		resp, err := client.TimeToLive(t.Context(), lease.ID)
		return err == nil && resp.TTL < 3
	})
	if err := a.TransferTo(t.Context(), key); !errors.Is(err, election.ErrTransfer) {
		t.Errorf("%v", err)
	}
	if a.Context().Err() != nil {
		t.Fatal("the term is over")
	}
	resign(t, a)
}

func TestTermCanBeResignedAfterManyTransfersThatFailed(t *testing.T) {
	t.Parallel()
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	a := campaign(t, election.New(open(t, client), name), "a")
	stranger(t, client, name) // is before all who follow, and never steps aside
	b := campaigning(t, client, name, election.New(open(t, client), name), "b")
	key := candidatesOf(t, client, name)[2].Key
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%5+1)*2*time.Millisecond)
			defer cancel()
			if err := a.TransferTo(ctx, key); err == nil {
				t.Error("transferred")
			}
		})
	}
	wg.Wait()
	resign(t, a)
	keys := etcdtest.Keys(t, client, "fenceline/election/"+name+"/next~")
	etcdtest.Eventually(t, 5*time.Second, "no mark", func() bool {
		keys = etcdtest.Keys(t, client, "fenceline/election/"+name+"/next~")
		return len(keys) == 0
	})
	_, _ = client.Delete(t.Context(), candidatesOf(t, client, name)[0].Key)
	resign(t, <-b)
}

func TestTermCanBeResignedWithoutSpace(t *testing.T) {
	t.Parallel()
	m := etcdtest.Start(t)
	client := m.Client(t)
	a := campaign(t, election.New(open(t, client), "x"), "a")
	b := campaigning(t, client, "x", election.New(open(t, client), "x"), "b")
	cs := candidatesOf(t, client, "x")
	m.NoSpace(t)
	if err := a.TransferTo(t.Context(), cs[1].Key); err == nil {
		t.Error("transferred, though nobody could be named")
	}
	if err := a.Proclaim(t.Context(), "new"); err == nil {
		t.Error("proclaimed")
	}
	resign(t, a)
	resign(t, <-b)
	m.Space(t)
}

// say keeps what a session's logger is told.
type say struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *say) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *say) has(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(s.text.String(), text)
}

func TestSteppingDownForHealthIsTold(t *testing.T) {
	t.Parallel()
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	var log say
	var overruns atomic.Int64
	s := open(t, client, session.WithTTL(3*time.Second), session.WithLogger(slog.New(slog.NewTextHandler(&log, nil))),
		session.WithTrace(&session.Trace{Overrun: func(string, string, time.Duration) { overruns.Add(1) }}))
	var checks atomic.Int64
	e := election.New(s, name, election.WithHealth(func(context.Context) error {
		if checks.Add(1) > 1 {
			return errors.New("disk is full")
		}
		return nil
	}))
	release, cause := make(chan struct{}), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- e.Lead(ctx, "v", func(ctx context.Context, _ *election.Term) error {
			<-ctx.Done()
			cause <- context.Cause(ctx)
			<-release // it ignores that
			return nil
		})
	}()
	if err := <-cause; !errors.Is(err, election.ErrUnhealthy) || !strings.Contains(err.Error(), "disk is full") {
		t.Errorf("fn was told %v", err)
	}
	etcdtest.Eventually(t, 10*time.Second, "the log and the hook", func() bool {
		return log.has("stepping down") && log.has("disk is full") && log.has("is to step down") && overruns.Load() == 1
	})
	close(release)
	cancel()
	<-done
}

func TestOneHiccupIsNotEnoughWithAThreshold(t *testing.T) {
	t.Parallel()
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s := open(t, client, session.WithTTL(2*time.Second))
	var checks atomic.Int64
	e := election.New(s, name, election.WithHealthThreshold(2), election.WithHealth(func(context.Context) error {
		if n := checks.Add(1); n%2 == 0 || n > 6 { // every other one fails, then all
			return errors.New("a hiccup")
		}
		return nil
	}))
	err := errors.New("not run")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_ = e.Lead(ctx, "v", func(inside context.Context, _ *election.Term) error {
		<-inside.Done()
		err = context.Cause(inside)
		if n := checks.Load(); n < 7 { // the sixth and the seventh
			t.Errorf("it stepped down after %d checks", n)
		}
		cancel()
		return nil
	})
	if !errors.Is(err, election.ErrUnhealthy) {
		t.Errorf("%v", err)
	}
	if _, err := election.New(s, name, election.WithHealthThreshold(0)).Campaign(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "WithHealthThreshold(0)") {
		t.Errorf("%v", err)
	}
}

func TestRefusalDoesNotEndLead(t *testing.T) {
	t.Parallel()
	m := etcdtest.Start(t)
	client := m.Client(t)
	var log say
	s := open(t, client, session.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	e := election.New(s, "x")
	leading := make(chan *election.Term, 10)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- e.Lead(ctx, "v", func(ctx context.Context, t *election.Term) error {
			leading <- t
			<-ctx.Done()
			return nil
		})
	}()
	first := <-leading
	m.NoSpace(t)
	_, _ = client.Delete(t.Context(), first.Key())
	etcdtest.Eventually(t, 10*time.Second, "the refusal in the log", func() bool { return log.has("cannot stand") && log.has("space exceeded") })
	m.Space(t)
	select {
	case <-leading:
	case err := <-done:
		t.Fatalf("Lead ended: %v", err)
	case <-time.After(30 * time.Second):
		t.Fatal("it does not stand again")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := e.Lead(t.Context(), strings.Repeat("x", 3<<20), nil); err == nil || t.Context().Err() != nil {
		t.Errorf("a value that etcd can never take: %v", err)
	}
}
