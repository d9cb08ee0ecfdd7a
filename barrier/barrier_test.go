package barrier

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

func opened(t testing.TB, client *clientv3.Client, opts ...session.Option) *session.Session {
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

// fixture is a client, a session and a name of this test's own.
func fixture(t testing.TB) (*clientv3.Client, *session.Session, string) {
	client := etcdtest.Shared(t).Client(t)
	return client, opened(t, client), etcdtest.Name(t)
}

type result struct {
	pass *Pass
	err  error
}

func entersWith(ctx context.Context, b *Barrier) <-chan result {
	out := make(chan result, 1)
	go func() {
		p, err := b.Enter(ctx)
		out <- result{p, err}
	}()
	return out
}

func enters(t testing.TB, b *Barrier) <-chan result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return entersWith(ctx, b)
}

func mustPass(t testing.TB, c <-chan result) *Pass {
	t.Helper()
	r := <-c
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r.pass
}

// leave leaves with all of them at once.
func leave(t testing.TB, passes ...*Pass) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for _, p := range passes {
		wg.Go(func() {
			if err := p.Leave(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func partiesIn(t testing.TB, client *clientv3.Client, name string) []string {
	return etcdtest.Keys(t, client, "fenceline/barrier/"+name+"/in/")
}

func standing(t testing.TB, client *clientv3.Client, name string, n int) {
	t.Helper()
	etcdtest.Eventually(t, 10*time.Second, "parties in", func() bool { return len(partiesIn(t, client, name)) == n })
}

func revoke(t testing.TB, client *clientv3.Client, s *session.Session) {
	t.Helper()
	if _, err := client.Revoke(t.Context(), s.Lease()); err != nil {
		t.Error(err)
	}
}

func waits[T any](t testing.TB, c <-chan T) {
	t.Helper()
	select {
	case r := <-c:
		t.Fatalf("did not wait: %v", r)
	case <-time.After(50 * time.Millisecond):
	}
}

func TestNobodyEntersBeforeAllAreIn(t *testing.T) {
	client, s, name := fixture(t)
	b := New(s, name, 3)
	one, two := enters(t, b), enters(t, New(opened(t, client), name, 3))
	standing(t, client, name, 2)
	waits(t, one)
	waits(t, two)
	passes := []*Pass{mustPass(t, enters(t, b)), mustPass(t, one), mustPass(t, two)}
	for _, p := range passes {
		if p.Round() != 1 || p.Context().Err() != nil {
			t.Errorf("round %d, context %v", p.Round(), p.Context().Err())
		}
	}
	leave(t, passes...)
	standing(t, client, name, 0)
	for _, p := range passes {
		if err := p.Leave(t.Context()); !errors.Is(err, session.ErrNotHeld) {
			t.Errorf("second Leave: %v", err)
		}
		if err := context.Cause(p.Context()); !errors.Is(err, session.ErrNotHeld) {
			t.Errorf("cause after Leave: %v", err)
		}
	}
}

func TestLeaveWaitsForTheOthersAndTheDeadHaveLeft(t *testing.T) {
	client, s, name := fixture(t)
	dying := opened(t, client)
	c1, c2, c3 := enters(t, New(s, name, 3)), enters(t, New(s, name, 3)), enters(t, New(dying, name, 3))
	p1, p2, p3 := mustPass(t, c1), mustPass(t, c2), mustPass(t, c3)
	left := make(chan error, 1)
	go func() { left <- p1.Leave(t.Context()) }()
	standing(t, client, name, 2)
	waits(t, left)
	leaving := make(chan error, 1)
	go func() { leaving <- p2.Leave(t.Context()) }()
	standing(t, client, name, 1)
	waits(t, left)
	revoke(t, client, dying)
	if err := errors.Join(<-left, <-leaving); err != nil {
		t.Error(err)
	}
	etcdtest.Eventually(t, 10*time.Second, "the loss", func() bool { return p3.Context().Err() != nil })
	if err := p3.Leave(t.Context()); !errors.Is(err, session.ErrLost) || !errors.Is(context.Cause(p3.Context()), session.ErrLost) {
		t.Errorf("Leave of the dead: %v, cause %v", err, context.Cause(p3.Context()))
	}
}

func TestFastPartyInTheNextRoundDisturbsNoSlowOne(t *testing.T) {
	client, s, name := fixture(t)
	b := New(s, name, 2)
	c1, c2 := enters(t, b), enters(t, b)
	slow, fast := mustPass(t, c1), mustPass(t, c2)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := fast.Leave(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	standing(t, client, name, 1)
	next := enters(t, b)
	standing(t, client, name, 2)
	waits(t, next) // the slow one is inside the first round, not in the second
	leave(t, slow) // and does not wait for the second
	waits(t, next)
	p := mustPass(t, enters(t, b))
	if p.Round() != 2 {
		t.Errorf("round %d", p.Round())
	}
	leave(t, p, mustPass(t, next))
}

func TestPartyThatDiesBeforeTheRoundIsFullIsNotCounted(t *testing.T) {
	client, s, name := fixture(t)
	dying := opened(t, client)
	dead := enters(t, New(dying, name, 2))
	standing(t, client, name, 1)
	revoke(t, client, dying)
	if r := <-dead; !errors.Is(r.err, session.ErrLost) {
		t.Errorf("the dead one: %v", r.err)
	}
	one := enters(t, New(s, name, 2))
	standing(t, client, name, 1)
	waits(t, one)
	leave(t, mustPass(t, enters(t, New(s, name, 2))), mustPass(t, one))
}

func TestAnotherNumberOfPartiesIsRefusedAndBothAreNamed(t *testing.T) {
	client, s, name := fixture(t)
	three := enters(t, New(s, name, 3))
	standing(t, client, name, 1)
	for _, n := range []int{1, 4} {
		_, err := New(s, name, n).Enter(t.Context())
		if !errors.Is(err, ErrParties) || !strings.Contains(err.Error(), "3, not ") {
			t.Errorf("%d parties: %v", n, err)
		}
	}
	standing(t, client, name, 1)
	c := enters(t, New(s, name, 3))
	leave(t, mustPass(t, enters(t, New(s, name, 3))), mustPass(t, three), mustPass(t, c))
	leave(t, mustPass(t, enters(t, New(s, name, 1)))) // nobody uses it
}

func TestInvalidInputCostsNoRequest(t *testing.T) {
	p := etcdtest.NewProxy(t, etcdtest.Shared(t))
	s := opened(t, p.Client(t))
	p.Blackhole() // a request would wait
	defer p.Heal()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for want, do := range map[string]func() error{
		"0 parties":  func() error { _, err := New(s, "a", 0).Enter(ctx); return err },
		"-1 parties": func() error { _, err := New(s, "a", -1).Enter(ctx); return err },
		"empty":      func() error { _, err := New(s, "", 2).Enter(ctx); return err },
		"control":    func() error { return NewGate(s, "a\x00").Close(ctx) },
		"UTF-8":      func() error { return NewGate(s, "\xff").Wait(ctx) },
		"600 bytes":  func() error { return NewGate(s, strings.Repeat("x", 600)).Open(ctx) },
		"count 0":    func() error { return NewLatch(s, "a", 0).Wait(ctx) },
		"count -2":   func() error { _, err := NewLatch(s, "a", -2).Left(ctx); return err },
		"id of a":    func() error { return NewLatch(s, "a", 2).CountDown(ctx, "") },
	} {
		if err := do(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
	if ctx.Err() != nil {
		t.Error("requests were made")
	}
}

func TestMoreThanAHundredPartiesAreOneRound(t *testing.T) {
	client, s, name := fixture(t)
	ctx, cancel := context.WithCancel(t.Context())
	gone := entersWith(ctx, New(s, name, 250))
	standing(t, client, name, 1)
	cancel()
	if r := <-gone; !errors.Is(r.err, context.Canceled) {
		t.Errorf("%v", r.err)
	}
	var cs []<-chan result
	for range 250 {
		cs = append(cs, enters(t, New(s, name, 250)))
	}
	var passes []*Pass
	for _, c := range cs {
		passes = append(passes, mustPass(t, c))
	}
	leave(t, passes...)
}
