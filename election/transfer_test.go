package election_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

func TestTwoTransfersAtOnceLeaveNoMark(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	a := campaign(t, election.New(open(t, client), name), "a")
	b := campaigning(t, client, name, election.New(open(t, client), name), "b")
	c := campaigning(t, client, name, election.New(open(t, client), name), "c")
	cs := candidatesOf(t, client, name)
	var wg sync.WaitGroup
	for _, k := range []string{cs[1].Key, cs[2].Key} {
		wg.Go(func() { t.Log(a.TransferTo(t.Context(), k)) })
	}
	wg.Wait()
	for b != nil || c != nil {
		select {
		case x := <-b:
			resign(t, x)
			b = nil
		case x := <-c:
			resign(t, x)
			c = nil
		case <-time.After(3 * time.Second):
			t.Errorf("a candidate waits for ever: %v", etcdtest.Keys(t, client, "fenceline/election/"+name+"/"))
			b, c = nil, nil
		}
	}
	newcomerLeads(t, client, name)
}

func TestResignDuringATransferLeavesNoMark(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	a := campaign(t, election.New(open(t, client), name), "a")
	lease := stranger(t, client, name)
	b := campaigning(t, client, name, election.New(open(t, client), name), "b")
	cs := candidatesOf(t, client, name)
	over := make(chan error, 1)
	go func() { over <- a.TransferTo(t.Context(), cs[2].Key) }()
	marked(t, client, name, 1)
	resign(t, a)
	_, _ = client.Revoke(t.Context(), lease)
	t.Log(<-over)
	resign(t, <-b)
	newcomerLeads(t, client, name)
}

func TestEntryDeletedDuringATransferLeavesNoMark(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	a := campaign(t, election.New(open(t, client), name), "a")
	lease := stranger(t, client, name)
	b := campaigning(t, client, name, election.New(open(t, client), name), "b")
	cs := candidatesOf(t, client, name)
	over := make(chan error, 1)
	go func() { over <- a.TransferTo(t.Context(), cs[2].Key) }()
	marked(t, client, name, 1)
	_, _ = client.Delete(t.Context(), a.Key())
	<-a.Context().Done()
	_, _ = client.Revoke(t.Context(), lease)
	t.Log(<-over)
	resign(t, <-b)
	etcdtest.Eventually(t, 5*time.Second, "no mark", func() bool { // a lost term is tidied up in the background
		return len(etcdtest.Keys(t, client, "fenceline/election/"+name+"/")) == 0
	})
	newcomerLeads(t, client, name)
}

func TestMarkThatArrivesLateDoesNotStay(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	client, theirs := m.Client(t), m.Client(t)
	kv := &lateKV{KV: theirs.KV}
	theirs.KV = kv
	a := campaign(t, election.New(open(t, theirs), name), "a")
	b := campaigning(t, client, name, election.New(open(t, client), name), "b")
	cs := candidatesOf(t, client, name)
	kv.next(1)
	t.Log(a.TransferTo(t.Context(), cs[1].Key))
	if a.Context().Err() != nil {
		t.Fatal("not this scenario")
	}
	t.Log("late marks that took effect:", kv.arrive())
	resign(t, a)
	resign(t, <-b)
	newcomerLeads(t, client, name)
}

func TestTransferEndsWithItsTerm(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s := open(t, client)
	a := campaign(t, election.New(s, name), "a")
	lease := stranger(t, client, name)
	b := campaigning(t, client, name, election.New(open(t, client), name), "b")
	cs := candidatesOf(t, client, name)
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel()
	over := make(chan error, 1)
	go func() { over <- a.TransferTo(ctx, cs[2].Key) }()
	marked(t, client, name, 1)
	_, _ = client.Revoke(t.Context(), s.Lease())
	<-a.Context().Done()
	lost := time.Now()
	err := <-over
	if d := time.Since(lost); d > 2*time.Second || !errors.Is(err, session.ErrLost) {
		t.Errorf("TransferTo returned %v after the loss: %v", d, err)
	}
	_, _ = client.Revoke(t.Context(), lease)
	resign(t, <-b)
}

func TestTransferInsideLeadIsNoWarning(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	var log bytes.Buffer
	var mu sync.Mutex
	s := open(t, client, session.WithLogger(slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return log.Write(p)
	}), nil))))
	var b <-chan *election.Term
	err := election.New(s, name).Lead(t.Context(), "v", func(ctx context.Context, term *election.Term) error {
		b = campaigning(t, client, name, election.New(open(t, client), name), "b")
		return term.TransferTo(ctx, candidatesOf(t, client, name)[1].Key)
	})
	mu.Lock()
	t.Log(err, log.String())
	if strings.Contains(log.String(), "not resigned") {
		t.Error("warned of nothing")
	}
	mu.Unlock()
	resign(t, <-b)
}

func TestTransferDoesNotStayMuchLongerThanItsCtx(t *testing.T) {
	etcd, name := etcdtest.Start(t), etcdtest.Name(t)
	proxy, client := etcdtest.NewProxy(t, etcd), etcd.Client(t)
	a := campaign(t, election.New(open(t, proxy.Client(t)), name), "a")
	b := campaigning(t, client, name, election.New(open(t, client), name), "b")
	key := candidatesOf(t, client, name)[1].Key
	proxy.Blackhole()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	err := a.TransferTo(ctx, key)
	if d := time.Since(began); d > time.Second {
		t.Errorf("TransferTo with a ctx of 200ms took %v: %v", d, err)
	}
	proxy.Heal()
	_ = a.Resign(t.Context())
	resign(t, <-b)
}

func TestCandidateNamedInVainStepsAsideAgain(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	a := campaign(t, election.New(open(t, client), name), "a")
	lease := stranger(t, client, name)
	b := campaigning(t, client, name, election.New(open(t, client), name), "b")
	cs := candidatesOf(t, client, name)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := a.TransferTo(ctx, cs[2].Key); err == nil {
		t.Fatal("transferred")
	}
	_, _ = client.Revoke(t.Context(), lease)
	high := campaigning(t, client, name, election.New(open(t, client), name, election.WithPriority(9)), "high")
	stands(t, client, name, "a", "high", "b")
	resign(t, a)
	for range 2 {
		select {
		case x := <-b:
			resign(t, x)
		case x := <-high:
			resign(t, x)
		}
	}
}

// Also when it is the oldest key.
func TestNobodyTakesAMarkForACandidate(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	if _, err := client.Put(t.Context(), "fenceline/election/"+name+"/next~77", ""); err != nil {
		t.Fatal(err)
	}
	if l, err := election.Current(t.Context(), client, name); !errors.Is(err, election.ErrNoLeader) {
		t.Errorf("Current: %+v, %v; Candidates: %v", l, err, candidatesOf(t, client, name))
	}
	nested := name + "/x"
	if _, err := client.Put(t.Context(), nested+"/next~77", "candidate"); err != nil {
		t.Fatal(err)
	}
	cs, err := election.Candidates(t.Context(), client, "n", election.WithPrefix(name))
	l, err2 := election.Current(t.Context(), client, "n", election.WithPrefix(name))
	if len(cs) != 1 {
		t.Errorf("a key that is ahead of all candidates is no candidate: %v, %v; Current %v %v", cs, err, l, err2)
	}
}
