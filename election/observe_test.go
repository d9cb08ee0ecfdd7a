package election_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/goleak"

	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/fence"
	"github.com/fenceline/fenceline/internal/etcdtest"
)

// observed is a loop over Observe, one step at a time: next waits for what is yielded.
type observed struct {
	t    testing.TB
	pull func() (election.Leader, error, bool)
	stop func()
}

func observe(t testing.TB, client *clientv3.Client, prefix string) observed {
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	pull, stop := iter.Pull2(election.Observe(ctx, client, "shown", election.WithPrefix(prefix)))
	t.Cleanup(func() { stop(); cancel() })
	return observed{t, pull, stop}
}

func (o observed) next() election.Leader {
	o.t.Helper()
	l, err, ok := o.pull()
	if err != nil || !ok {
		o.t.Fatalf("the observer ended: %v", err)
	}
	return l
}

func (o observed) want(value string) election.Leader {
	o.t.Helper()
	l := o.next()
	if l.Value != value || (l.Key == "") != (value == "") || (l.Token == 0) != (value == "") {
		o.t.Fatalf("%+v, want %q", l, value)
	}
	return l
}

// candidate is one of etcd's own, with a session of its own.
type candidate struct {
	t      testing.TB
	client *clientv3.Client
	key    string // known also while Campaign waits
	*concurrency.Election
}

func stand(t testing.TB, client *clientv3.Client, prefix string) candidate {
	t.Helper()
	s, err := concurrency.NewSession(client)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return candidate{t, client, fmt.Sprintf("%s/%x", prefix, s.Lease()), concurrency.NewElection(s, prefix)}
}

// lead waits until c leads.
func (c candidate) lead(value string) candidate {
	c.t.Helper()
	if err := c.Campaign(c.t.Context(), value); err != nil {
		c.t.Fatal(err)
	}
	return c
}

// wait stands in line as the nth.
func (c candidate) wait(prefix, value string, n int) candidate {
	c.t.Helper()
	go c.Campaign(c.t.Context(), value)
	etcdtest.Eventually(c.t, 10*time.Second, "candidates in line", func() bool { return len(etcdtest.Keys(c.t, c.client, prefix+"/")) == n })
	return c
}

func (c candidate) resign() {
	c.t.Helper()
	if _, err := c.client.Delete(c.t.Context(), c.key); err != nil {
		c.t.Fatal(err)
	}
}

func (c candidate) proclaim(value string) {
	c.t.Helper()
	if err := c.Proclaim(c.t.Context(), value); err != nil {
		c.t.Fatal(err)
	}
}

func TestObserveYieldsLeadersValuesAndGaps(t *testing.T) {
	client, prefix := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	o := observe(t, client, prefix)
	o.want("")
	a := stand(t, client, prefix).lead("a")
	first := o.want("a")
	if first.Key != a.Key() || first.Token != fence.TokenAt(a.Rev(), 0) {
		t.Errorf("%+v, want key %s and token %d", first, a.Key(), a.Rev())
	}
	a.proclaim("a, with news")
	if news := o.want("a, with news"); news.Token != first.Token {
		t.Errorf("another term for another value: %+v after %+v", news, first)
	}
	a.resign()
	o.want("")
	stand(t, client, prefix).lead("b")
	if second := o.want("b"); second.Token <= first.Token {
		t.Errorf("token %d after %d", second.Token, first.Token)
	}
	observe(t, client, prefix).want("b") // one who comes later
}

func TestSuccessorFollowsWithoutAGap(t *testing.T) {
	client, prefix := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	a := stand(t, client, prefix).lead("a")
	b := stand(t, client, prefix).wait(prefix, "b", 2)
	stand(t, client, prefix).wait(prefix, "c", 3)
	o := observe(t, client, prefix)
	o.want("a")
	a.resign()
	o.want("b")
	b.resign()
	o.want("c")
}

func TestThoseWhoWaitAreNotNews(t *testing.T) {
	client, prefix := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	o := observe(t, client, prefix)
	a := stand(t, client, prefix).lead("a")
	o.want("a")
	b := stand(t, client, prefix).wait(prefix, "b", 2)
	stand(t, client, prefix).wait(prefix, "c", 3)
	b.resign()
	a.proclaim("a") // says what it has said
	a.proclaim("a, again")
	o.want("a, again")
}

func TestSlowConsumerGetsTheLatest(t *testing.T) {
	client, prefix := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	a := stand(t, client, prefix).lead("0")
	slow, fast := observe(t, client, prefix), observe(t, client, prefix)
	slow.want("0")
	for i := range 200 {
		a.proclaim(fmt.Sprint(i + 1))
	}
	for fast.next().Value != "200" { // so the news are out
	}
	got := slow.next()
	for range 2 { // the news may be on their way still, but not one by one
		if got.Value != "200" {
			got = slow.next()
		}
	}
	if got.Value != "200" {
		t.Errorf("the third thing that a slow consumer sees is %q of 200", got.Value)
	}
}

func TestObserveWritesNothing(t *testing.T) {
	client, prefix := etcdtest.Start(t).Client(t), etcdtest.Name(t)
	stand(t, client, prefix).lead("a")
	before, leases := revision(t, client), len(etcdtest.Leases(t, client))
	observe(t, client, prefix).want("a")
	if after := revision(t, client); after != before {
		t.Errorf("%d writes", after-before)
	}
	if n := len(etcdtest.Leases(t, client)); n != leases {
		t.Errorf("%d leases, want %d", n, leases)
	}
}

func revision(t testing.TB, client *clientv3.Client) int64 {
	t.Helper()
	resp, err := client.Get(t.Context(), "any")
	if err != nil {
		t.Fatal(err)
	}
	return resp.Header.Revision
}

func TestBreakLeavesNothingBehind(t *testing.T) {
	client, prefix := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	stand(t, client, prefix).lead("a")
	before := goleak.IgnoreCurrent()
	seq := election.Observe(t.Context(), client, "shown", election.WithPrefix(prefix))
	for range 3 { // it may be ranged over again
		for l, err := range seq {
			if err != nil || l.Value != "a" {
				t.Fatalf("%+v, %v", l, err)
			}
			break
		}
		if err := goleak.Find(before); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEndOfCtxEndsObserveWithoutAWord(t *testing.T) {
	client, prefix := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	revision(t, client) // so that it is connected
	before := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var yields atomic.Int64
	for l, err := range election.Observe(ctx, client, "shown", election.WithPrefix(prefix)) {
		if err != nil || l.Key != "" {
			t.Errorf("%+v, %v", l, err)
		}
		yields.Add(1)
		time.AfterFunc(20*time.Millisecond, cancel)
	}
	if n := yields.Load(); n != 1 {
		t.Errorf("%d yields", n)
	}
	for range election.Observe(ctx, client, "shown") {
		t.Error("yielded after the end of ctx")
	}
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
}

// last runs Observe to its end, which must be one error.
func last(t *testing.T, seq iter.Seq2[election.Leader, error]) error {
	t.Helper()
	var end error
	for l, err := range seq {
		if end != nil {
			t.Fatalf("%+v, %v after %v", l, err, end)
		}
		if err != nil && l != (election.Leader{}) {
			t.Errorf("%+v with %v", l, err)
		}
		end = err
	}
	if end == nil {
		t.Fatal("ended without an error")
	}
	return end
}

func TestClosedClientEndsObserve(t *testing.T) {
	client, prefix := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	seq := election.Observe(ctx, client, "shown", election.WithPrefix(prefix))
	closing := func(yield func(election.Leader, error) bool) {
		for l, err := range seq {
			if err == nil {
				client.Close()
			}
			if !yield(l, err) {
				return
			}
		}
	}
	says(t, last(t, closing), "shown", "was closed")
	says(t, last(t, seq), "was closed") // closed from the start
	_, err := election.Current(ctx, client, "shown")
	says(t, err, "was closed")
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Error("it took until the end of ctx")
	}
}
