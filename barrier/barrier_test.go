package barrier

import (
	"context"
	"errors"
	"runtime"
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

func TestBreakTellsEverybody(t *testing.T) {
	for how, end := range map[string]func(t *testing.T, client *clientv3.Client, s *session.Session, cancel func()){
		"leaves": func(_ *testing.T, _ *clientv3.Client, _ *session.Session, cancel func()) { cancel() },
		"dies":   func(t *testing.T, c *clientv3.Client, s *session.Session, _ func()) { revoke(t, c, s) },
	} {
		t.Run(how, func(t *testing.T) {
			client, s, name := fixture(t)
			var others []<-chan result
			for range 3 {
				others = append(others, enters(t, New(s, name, 5, WithBreak())))
			}
			other := opened(t, client)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			one := entersWith(ctx, New(other, name, 5, WithBreak()))
			standing(t, client, name, 4)
			end(t, client, other, cancel)
			if r := <-one; r.err == nil || errors.Is(r.err, ErrBroken) {
				t.Errorf("who left: %v", r.err)
			}
			for _, c := range others {
				if r := <-c; !errors.Is(r.err, ErrBroken) {
					t.Errorf("another: %v", r.err)
				}
			}
			standing(t, client, name, 0)
			c1 := enters(t, New(s, name, 2, WithBreak())) // and the next round is a new one
			leave(t, mustPass(t, enters(t, New(s, name, 2, WithBreak()))), mustPass(t, c1))
		})
	}
}

func TestBreakDoesNotComeAfterTheRoundWasFull(t *testing.T) {
	client, s, name := fixture(t)
	dying := opened(t, client)
	b := New(s, name, 2, WithBreak())
	c1, c2 := enters(t, b), enters(t, New(dying, name, 2, WithBreak()))
	p1 := mustPass(t, c1)
	defer runtime.KeepAlive(mustPass(t, c2))
	next := enters(t, b)
	standing(t, client, name, 3)
	revoke(t, client, dying)
	leave(t, p1)
	waits(t, next)
	leave(t, mustPass(t, enters(t, b)), mustPass(t, next))
}

func TestCompactionWhileWaitingIsNoAnswer(t *testing.T) {
	m := etcdtest.Start(t)
	client, name := m.Client(t), etcdtest.Name(t)
	s := opened(t, client)
	b, g, l := New(s, name, 2), NewGate(s, name), NewLatch(s, name, 1)
	if err := g.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	one := enters(t, b)
	standing(t, client, name, 1)
	ends := make(chan error, 2)
	go func() { ends <- g.Wait(t.Context()) }()
	go func() { ends <- l.Wait(t.Context()) }()
	waits(t, ends)
	m.Kill() // ends all watches; and what they missed is compacted
	m.Restart(t)
	for range 10 {
		if _, err := client.Put(t.Context(), "noise", ""); err != nil {
			t.Fatal(err)
		}
	}
	etcdtest.Compact(t, client)
	s.Keeper().Watch().Restart()
	etcdtest.Compact(t, client)
	waits(t, ends)
	waits(t, one)
	if err := errors.Join(g.Open(t.Context()), l.CountDown(t.Context(), "a")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(<-ends, <-ends); err != nil {
		t.Fatal(err)
	}
	leave(t, mustPass(t, enters(t, b)), mustPass(t, one))
}

func TestClosedSessionEndsEveryWait(t *testing.T) {
	client := etcdtest.Shared(t).Client(t)
	name := etcdtest.Name(t)
	s, err := session.Open(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	inside := New(s, name+"2", 2)
	c := enters(t, inside)
	p, other := mustPass(t, enters(t, inside)), mustPass(t, c)
	defer runtime.KeepAlive(other) // else it may leave by itself
	g := NewGate(s, name)
	if err := g.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	ends := make(chan error, 4)
	go func() { _, err := New(s, name, 2).Enter(t.Context()); ends <- err }()
	go func() { ends <- p.Leave(t.Context()) }()
	go func() { ends <- g.Wait(t.Context()) }()
	go func() { ends <- NewLatch(s, name, 2).Wait(t.Context()) }()
	standing(t, client, name, 1)
	standing(t, client, name+"2", 1)
	waits(t, ends)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if err := <-ends; !errors.Is(err, session.ErrClosed) {
			t.Error(err)
		}
	}
	if _, err := New(s, name, 2).Enter(t.Context()); !errors.Is(err, session.ErrClosed) {
		t.Error(err)
	}
	if err := g.Open(t.Context()); !errors.Is(err, session.ErrClosed) {
		t.Error(err)
	}
	if keys := append(partiesIn(t, client, name), partiesIn(t, client, name+"2")...); len(keys) != 0 {
		t.Errorf("left: %q", keys)
	}
}

func TestEntryThatSomebodyDeletesEndsTheWait(t *testing.T) {
	client, s, name := fixture(t)
	one := enters(t, New(s, name, 2))
	standing(t, client, name, 1)
	waits(t, one) // until it has listed, and only a watch can tell
	began := time.Now()
	if _, err := client.Delete(t.Context(), partiesIn(t, client, name)[0]); err != nil {
		t.Fatal(err)
	}
	if r := <-one; !errors.Is(r.err, session.ErrEntryGone) || time.Since(began) > 3*time.Second {
		t.Errorf("Enter, after %v: %v", time.Since(began), r.err)
	}
	p := mustPass(t, enters(t, New(s, name, 1)))
	if _, err := client.Delete(t.Context(), partiesIn(t, client, name)[0]); err != nil {
		t.Fatal(err)
	}
	if err := p.Leave(t.Context()); !errors.Is(err, session.ErrEntryGone) {
		t.Errorf("Leave: %v", err)
	}
}

func TestRoundWhoseLastPartyDiesUnheardIsPublishedByAnother(t *testing.T) {
	client, s, name := fixture(t)
	one := enters(t, New(s, name, 2))
	standing(t, client, name, 1)
	// The last one has put its entry, and does nothing more.
	if _, err := client.Put(t.Context(), "fenceline/barrier/"+name+"/in/1", "2"); err != nil {
		t.Fatal(err)
	}
	s.Keeper().Watch().Restart() // else it is noticed when one looks again, after some seconds
	p := mustPass(t, one)
	if _, err := client.Delete(t.Context(), "fenceline/barrier/"+name+"/in/1"); err != nil {
		t.Fatal(err)
	}
	leave(t, p)
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

func TestPassThatIsForgottenLeaves(t *testing.T) {
	client, s, name := fixture(t)
	for range 3 {
		mustPass(t, enters(t, New(s, name, 1)))
	}
	etcdtest.Eventually(t, 10*time.Second, "no entry", func() bool {
		runtime.GC()
		return len(partiesIn(t, client, name)) == 0
	})
}

func TestUnreachableEtcdEndsEnterWithItsContextAndIsNamed(t *testing.T) {
	t.Parallel()
	for fault, do := range map[string]func(*etcdtest.Proxy){
		"refused":   (*etcdtest.Proxy).Cut,
		"swallowed": (*etcdtest.Proxy).Blackhole,
	} {
		p := etcdtest.NewProxy(t, etcdtest.Shared(t))
		s := opened(t, p.Client(t), session.WithTTL(60*time.Second))
		do(p)
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		began := time.Now()
		_, err := New(s, etcdtest.Name(t), 2).Enter(ctx)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 1500*time.Millisecond {
			t.Errorf("%s: %v after %v", fault, err, time.Since(began))
		}
		if fault == "refused" && !strings.Contains(err.Error(), p.Endpoint()) {
			t.Errorf("%s: %v", fault, err)
		}
		p.Heal()
	}
}
