package election_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"golang.org/x/sync/errgroup"

	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/fence"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

// at is an election of ours, in a session of its own, that shares its line with etcd's package.
func at(t testing.TB, client *clientv3.Client, prefix string, opts ...election.Option) *election.Election {
	t.Helper()
	return election.New(open(t, client), "shared", append(opts, election.WithPrefix(prefix))...)
}

// queue campaigns and returns when it stands as the nth.
func queue(t testing.TB, client *clientv3.Client, prefix string, n int, e *election.Election, value string) <-chan *election.Term {
	t.Helper()
	got := make(chan *election.Term, 1)
	go func() {
		term, err := e.Campaign(t.Context(), value)
		if err != nil && t.Context().Err() == nil {
			t.Errorf("Campaign: %v", err)
		}
		got <- term
	}()
	nth(t, client, prefix, n)
	return got
}

// queueTheirs is queue for a candidate of etcd's own.
func queueTheirs(t testing.TB, client *clientv3.Client, prefix string, n int, c candidate, value string) <-chan error {
	t.Helper()
	got := make(chan error, 1)
	go func() { got <- c.Campaign(t.Context(), value) }()
	nth(t, client, prefix, n)
	return got
}

func nth(t testing.TB, client *clientv3.Client, prefix string, n int) {
	t.Helper()
	etcdtest.Eventually(t, 5*time.Second, "candidates in the shared line", func() bool {
		return len(etcdtest.Keys(t, client, prefix+"/")) == n
	})
}

func leads(t testing.TB, got <-chan error) {
	t.Helper()
	select {
	case err := <-got:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("etcd's candidate does not lead")
	}
}

func notYet[T any](t testing.TB, got <-chan T, who string) {
	t.Helper()
	select {
	case <-got:
		t.Fatalf("%s leads beside another", who)
	case <-time.After(30 * time.Millisecond):
	}
}

func TestOursAndEtcdsCandidatesLeadInOrderOfArrival(t *testing.T) {
	client, prefix := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	t1 := stand(t, client, prefix).lead("t1")
	o2 := queue(t, client, prefix, 2, at(t, client, prefix), "o2")
	c3 := stand(t, client, prefix)
	t3 := queueTheirs(t, client, prefix, 3, c3, "t3")
	o4 := queue(t, client, prefix, 4, at(t, client, prefix), "o4")

	notYet(t, o2, "the second, ours")
	if err := t1.Resign(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := <-o2
	notYet(t, t3, "the third, theirs")
	notYet(t, o4, "the fourth, ours")
	resign(t, second)
	leads(t, t3)
	notYet(t, o4, "the fourth, ours")
	if err := c3.Resign(t.Context()); err != nil {
		t.Fatal(err)
	}
	fourth := <-o4
	if second.Token().Revision() >= c3.Rev() || c3.Rev() >= fourth.Token().Revision() {
		t.Errorf("create revisions %d, %d, %d of terms that follow each other", second.Token().Revision(), c3.Rev(), fourth.Token().Revision())
	}
	resign(t, fourth)
	nth(t, client, prefix, 0)
}

// What `etcdctl elect` shows and `etcdctl elect --listen` reads: the session's lease in hex below the prefix.
func TestOurEntryHasTheKeyThatEtcdsOwnWouldHave(t *testing.T) {
	client, prefix := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s := open(t, client)
	term := campaign(t, election.New(s, "shared", election.WithPrefix(prefix)), "mine")
	if want := fmt.Sprintf("%s/%x", prefix, s.Lease()); term.Key() != want {
		t.Errorf("our key is %q, want %q", term.Key(), want)
	}
	if keys := etcdtest.Keys(t, client, prefix); len(keys) != 1 {
		t.Errorf("a term writes %q below the shared prefix, want one key", keys)
	}
	resp, err := client.Get(t.Context(), term.Key())
	if err != nil || len(resp.Kvs) != 1 || string(resp.Kvs[0].Value) != "mine" || resp.Kvs[0].Lease != int64(s.Lease()) {
		t.Errorf("our entry is %v, %v", resp, err)
	}
}

func TestEtcdsElectionReadsOurLeader(t *testing.T) {
	client, prefix := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	theirs := stand(t, client, prefix)
	term := campaign(t, at(t, client, prefix), "ours")
	queue(t, client, prefix, 2, at(t, client, prefix), "waits")
	is := func(when, value string) {
		t.Helper()
		resp, err := theirs.Leader(t.Context())
		if err != nil || len(resp.Kvs) != 1 {
			t.Fatalf("%s: %v, %v", when, resp, err)
		}
		if kv := resp.Kvs[0]; string(kv.Key) != term.Key() || string(kv.Value) != value || kv.CreateRevision != term.Token().Revision() {
			t.Errorf("%s: their Leader is %v, want %s with %q", when, kv, term.Key(), value)
		}
	}
	is("elected", "ours")
	if err := term.Proclaim(t.Context(), "changed"); err != nil {
		t.Fatal(err)
	}
	is("after Proclaim", "changed")
}

func TestEtcdsObserveSeesOurTermsAndWhatTheyProclaim(t *testing.T) {
	client, prefix := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	ctx, cancel := context.WithCancel(t.Context())
	seen := stand(t, client, prefix).Observe(ctx)
	defer func() {
		cancel()
		for range seen {
		}
	}()
	var last *mvccpb.KeyValue
	sees := func(value string) {
		t.Helper()
		select {
		case resp, ok := <-seen:
			if !ok {
				t.Fatal("their Observe ended")
			}
			if last = resp.Kvs[0]; string(last.Value) != value {
				t.Fatalf("their Observe shows %q, want %q", last.Value, value)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("their Observe does not show %q", value)
		}
	}
	first := campaign(t, at(t, client, prefix), "first")
	sees("first")
	second := queue(t, client, prefix, 2, at(t, client, prefix), "second")
	if err := first.Proclaim(t.Context(), "louder"); err != nil {
		t.Fatal(err)
	}
	sees("louder")
	if string(last.Key) != first.Key() {
		t.Errorf("after Proclaim the key is %q, want %q", last.Key, first.Key())
	}
	resign(t, first)
	sees("second")
	resign(t, <-second)
}

func TestOurReadersSeeEtcdsCandidatesAndOursInOneLine(t *testing.T) {
	client, prefix := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	o := observe(t, client, prefix)
	o.want("")
	first := stand(t, client, prefix).lead("theirs")
	if l := o.want("theirs"); l.Key != first.Key() || l.Token.Revision() != first.Rev() {
		t.Errorf("observed %+v, want %s at %d", l, first.Key(), first.Rev())
	}
	ours := queue(t, client, prefix, 2, at(t, client, prefix), "ours")
	third := stand(t, client, prefix).wait(prefix, "third", 3)
	first.proclaim("changed")
	o.want("changed")

	cs, err := election.Candidates(t.Context(), client, "shown", election.WithPrefix(prefix))
	if err != nil || len(cs) != 3 {
		t.Fatalf("candidates %+v, %v", cs, err)
	}
	for i, want := range []string{"changed", "ours", "third"} {
		if cs[i].Value != want {
			t.Errorf("candidate %d is %+v, want %q", i, cs[i], want)
		}
	}
	if cs[2].Key != third.key {
		t.Errorf("the third's key is %q, want %q", cs[2].Key, third.key)
	}
	if l, err := election.Current(t.Context(), client, "shown", election.WithPrefix(prefix)); err != nil || l != cs[0] {
		t.Errorf("current leader %+v, %v, want %+v", l, err, cs[0])
	}

	if err := first.Resign(t.Context()); err != nil {
		t.Fatal(err)
	}
	term := <-ours
	if l := o.want("ours"); l.Key != term.Key() || l.Token != term.Token() {
		t.Errorf("observed %+v, want our term %s", l, term.Key())
	}
	resign(t, term)
	o.want("third")
}

// ResumeElection is how a program goes on with a leader that it knows by key and revision only.
func TestTermThatEtcdsPackageResignsIsLost(t *testing.T) {
	client, prefix := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	term := campaign(t, at(t, client, prefix), "ours")
	next := stand(t, client, prefix)
	waiting := queueTheirs(t, client, prefix, 2, next, "theirs")

	s, err := concurrency.NewSession(client)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	resumed := concurrency.ResumeElection(s, prefix+"/", term.Key(), term.Token().Revision())
	if err := resumed.Resign(t.Context()); err != nil {
		t.Fatal(err)
	}
	leads(t, waiting)
	select {
	case <-term.Context().Done():
	case <-time.After(5 * time.Second):
		t.Fatal("our term goes on beside theirs")
	}
	if cause := context.Cause(term.Context()); !errors.Is(cause, session.ErrEntryGone) {
		t.Errorf("lost by %v, want ErrEntryGone", cause)
	}
}

func TestCandidatesOfEtcdsOwnDoNotStepAside(t *testing.T) {
	client, prefix := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	first := campaign(t, at(t, client, prefix), "first")
	theirs := stand(t, client, prefix)
	second := queueTheirs(t, client, prefix, 2, theirs, "theirs")
	third := queue(t, client, prefix, 3, at(t, client, prefix, election.WithPriority(9)), "urgent")
	resign(t, first)
	leads(t, second)
	notYet(t, third, "one with priority")
	if err := theirs.Resign(t.Context()); err != nil {
		t.Fatal(err)
	}
	resign(t, <-third)
}

func TestTransferToOneOfEtcdsOwn(t *testing.T) {
	client, prefix := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	first := campaign(t, at(t, client, prefix), "first")
	second := queue(t, client, prefix, 2, at(t, client, prefix), "steps aside")
	theirs := stand(t, client, prefix)
	third := queueTheirs(t, client, prefix, 3, theirs, "theirs")
	if err := first.TransferTo(t.Context(), theirs.key); err != nil {
		t.Fatal(err)
	}
	leads(t, third)
	notYet(t, second, "the one who stepped aside")
	if err := theirs.Resign(t.Context()); err != nil {
		t.Fatal(err)
	}
	resign(t, <-second)
	nth(t, client, prefix, 0)
}

// A fleet that moves over one process at a time: both kinds campaign against each other, and no terms overlap.
func TestTermsOfAMixedFleetNeverOverlap(t *testing.T) {
	server, prefix := etcdtest.Shared(t), etcdtest.Name(t)
	var leading, terms atomic.Int64
	lead := func() error {
		if n := leading.Add(1); n != 1 {
			return fmt.Errorf("%d lead at once", n)
		}
		terms.Add(1)
		leading.Add(-1)
		return nil
	}
	const each = 12
	var fleet errgroup.Group
	for i := range 2 {
		mine, other := at(t, server.Client(t), prefix), stand(t, server.Client(t), prefix)
		fleet.Go(func() error {
			var last fence.Token
			for range each {
				term, err := mine.Campaign(t.Context(), fmt.Sprint("ours ", i))
				if err != nil {
					return err
				}
				if term.Token() <= last {
					return fmt.Errorf("token %d after %d", term.Token(), last)
				}
				last = term.Token()
				if err := errors.Join(lead(), term.Resign(t.Context())); err != nil {
					return err
				}
			}
			return nil
		})
		fleet.Go(func() error {
			for range each {
				if err := other.Campaign(t.Context(), fmt.Sprint("theirs ", i)); err != nil {
					return err
				}
				if err := errors.Join(lead(), other.Resign(t.Context())); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := fleet.Wait(); err != nil {
		t.Error(err)
	}
	if n := terms.Load(); n != 4*each {
		t.Errorf("%d terms, want %d", n, 4*each)
	}
}
