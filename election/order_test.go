package election_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

func TestHighestPriorityOfThoseWhoWaitLeadsNext(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	at := func(p int) *election.Election {
		return election.New(open(t, client), name, election.WithPriority(p))
	}
	first := campaign(t, at(-1), "low") // leads, and is not preempted
	zero := campaigning(t, client, name, at(0), "zero")
	five := campaigning(t, client, name, at(5), "five")
	one := campaigning(t, client, name, at(1), "one")
	stands(t, client, name, "low", "five", "one", "zero")
	resign(t, first)
	term := <-five
	waits(t, "zero", zero)
	waits(t, "one", one)
	resign(t, term)
	resign(t, <-one)
	resign(t, <-zero)
	stands(t, client, name)
}

func TestTransferHandsOverToTheOneNamed(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	first := campaign(t, election.New(open(t, client), name), "a")
	got := map[string]<-chan *election.Term{}
	for _, v := range []string{"b", "c", "d"} {
		got[v] = campaigning(t, client, name, election.New(open(t, client), name, election.WithPriority(len(v)-1)), v)
	}
	cs, err := election.Candidates(t.Context(), client, name)
	if err != nil || len(cs) != 4 {
		t.Fatal(cs, err)
	}
	if err := first.TransferTo(t.Context(), cs[3].Key); err != nil {
		t.Fatal(err)
	}
	term := <-got["d"]
	if term.Key() != cs[3].Key || term.Token() != cs[3].Token {
		t.Errorf("%s leads, %s was named", term.Key(), cs[3].Key)
	}
	if err := first.Resign(t.Context()); !errors.Is(err, session.ErrNotHeld) {
		t.Errorf("Resign after the transfer: %v", err)
	}
	gone := cs[1].Key
	if err := term.TransferTo(t.Context(), gone+"-77"); !errors.Is(err, election.ErrTransfer) || term.Context().Err() != nil {
		t.Errorf("to one who is gone: %v; the term: %v", err, context.Cause(term.Context()))
	}
	resign(t, term)
	for _, v := range []string{"b", "c"} {
		select {
		case term := <-got["b"]:
			resign(t, term)
		case term := <-got["c"]:
			resign(t, term)
		case <-time.After(10 * time.Second):
			t.Fatal(v)
		}
	}
	if keys := etcdtest.Keys(t, client, "fenceline/election/"+name+"/"); len(keys) != 0 {
		t.Errorf("left: %v", keys)
	}
}

func TestTransferOverAHigherPriorityStands(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	first := campaign(t, election.New(open(t, client), name), "a")
	high := campaigning(t, client, name, election.New(open(t, client), name, election.WithPriority(9)), "high")
	low := campaigning(t, client, name, election.New(open(t, client), name), "low")
	cs, err := election.Candidates(t.Context(), client, name)
	if err != nil || len(cs) != 3 {
		t.Fatal(cs, err)
	}
	if err := first.TransferTo(t.Context(), cs[2].Key); err != nil {
		t.Fatal(err)
	}
	term := <-low
	waits(t, "the one with the higher priority", high)
	resign(t, term)
	resign(t, <-high)
}

func TestTransferSaysWhatItCannotDo(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	term := campaign(t, election.New(open(t, client), name), "a")
	for _, key := range []string{"", "elsewhere/1", "fenceline/election/" + name + "/", term.Key()} {
		if err := term.TransferTo(t.Context(), key); !errors.Is(err, election.ErrTransfer) {
			t.Errorf("to %q: %v", key, err)
		}
	}
	// A stranger's entry does not step aside.
	lease, err := client.Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	stranger := "fenceline/election/" + name + "/stranger"
	if _, err := client.Put(t.Context(), stranger, "stranger", clientv3.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
	b := campaigning(t, client, name, election.New(open(t, client), name), "b")
	cs, err := election.Candidates(t.Context(), client, name)
	if err != nil || len(cs) != 3 {
		t.Fatal(cs, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := term.TransferTo(ctx, cs[2].Key); !errors.Is(err, election.ErrTransfer) || !strings.Contains(err.Error(), stranger) {
		t.Errorf("with a stranger before it: %v", err)
	}
	if term.Context().Err() != nil {
		t.Error("the term has ended")
	}
	etcdtest.Eventually(t, 5*time.Second, "the mark is taken back", func() bool {
		return len(etcdtest.Keys(t, client, "fenceline/election/"+name+"/")) == 3
	})
	if _, err := client.Revoke(t.Context(), lease.ID); err != nil {
		t.Fatal(err)
	}
	resign(t, term)
	resign(t, <-b)
}
