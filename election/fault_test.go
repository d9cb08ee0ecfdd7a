package election_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

func TestProclaimThatArrivesLateDoesNotTakeTheValueBack(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	client, theirs := m.Client(t), m.Client(t)
	kv := &lateKV{KV: theirs.KV}
	theirs.KV = kv
	a := campaign(t, election.New(open(t, theirs), name), "a")
	kv.next(1)
	for _, v := range []string{"old", "new"} {
		if err := a.Proclaim(t.Context(), v); err != nil {
			t.Fatal(err)
		}
	}
	if n := kv.arrive(); n != 0 {
		t.Errorf("%d late Proclaims took effect", n)
	}
	if v := values(t, client, name); v[0] != "new" {
		t.Errorf("Proclaim(new) was the last to succeed, everybody reads %v", v)
	}
	resign(t, a)
}

func TestResignedTermKnowsItsToken(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	a := campaign(t, election.New(open(t, client), name), "a")
	resign(t, a)
	if a.Token() == 0 || a.Key() == "" {
		t.Errorf("token %d, key %q", a.Token(), a.Key())
	}
}

func TestStrangersKeyHasNoPriority(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	a := campaign(t, election.New(open(t, client), name), "a")
	b := campaigning(t, client, name, election.New(open(t, client), name, election.WithPriority(5)), "b")
	if _, err := client.Put(t.Context(), "fenceline/election/"+name+"/host~99999999999999999999", "stranger"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	if v := values(t, client, name); v[1] != "b" {
		t.Errorf("b has stepped aside for a stranger: %v", v)
	}
	_, _ = client.Delete(t.Context(), "fenceline/election/"+name+"/host~99999999999999999999")
	resign(t, a)
	resign(t, <-b)
}

func TestCampaignsOfOneSessionNeverShareAnEntry(t *testing.T) {
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	client, theirs := m.Client(t), m.Client(t)
	kv := &lateKV{KV: theirs.KV}
	theirs.KV = kv
	s := open(t, theirs)
	a := campaign(t, election.New(open(t, client), name), "a")
	y := campaigning(t, client, name, election.New(s, name), "v")
	cs := candidatesOf(t, client, name)
	time.Sleep(200 * time.Millisecond)
	_, _ = client.Delete(t.Context(), cs[1].Key)
	etcdtest.Eventually(t, 5*time.Second, "y stands again", func() bool { return len(candidatesOf(t, client, name)) == 2 })
	time.Sleep(200 * time.Millisecond)
	kv.next(1) // the first request of x is lost
	x := make(chan *election.Term, 1)
	go func() {
		term, err := election.New(s, name).Campaign(t.Context(), "v")
		if err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
		x <- term
	}()
	time.Sleep(500 * time.Millisecond)
	t.Log(candidatesOf(t, client, name))
	resign(t, a)
	first := <-y
	select {
	case second := <-x:
		if first.Context().Err() == nil && second.Context().Err() == nil {
			t.Errorf("two lead: %s %d and %s %d", first.Key(), first.Token(), second.Key(), second.Token())
		}
		_ = second.Resign(t.Context())
		_ = first.Resign(t.Context())
	case <-time.After(500 * time.Millisecond):
		resign(t, first)
		resign(t, <-x)
	}
	kv.arrive()
}

// As above, and the second campaign gives up.

func TestPrefixOfSessionRecordsIsRefused(t *testing.T) {
	client := etcdtest.Start(t).Client(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	term, err := election.New(open(t, client), "x", election.WithPrefix("fenceline/session")).Campaign(ctx, "v")
	if !errors.Is(err, session.ErrInvalidName) {
		t.Errorf("waits for its own record: %v, %v", term, err)
	}
}

// Once named, a candidate keeps its place before those with a larger priority, though the transfer came to nothing.
