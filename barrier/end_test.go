package barrier

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/session"
)

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
	keeper.Of(s).Watch().Restart()
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
	keeper.Of(s).Watch().Restart() // else it is noticed when one looks again, after some seconds
	p := mustPass(t, one)
	if _, err := client.Delete(t.Context(), "fenceline/barrier/"+name+"/in/1"); err != nil {
		t.Fatal(err)
	}
	leave(t, p)
}

func TestPassThatIsForgottenLeaves(t *testing.T) {
	client, s, name := fixture(t)
	var ends []<-chan struct{} // that somebody waits for keeps no Pass
	for range 3 {
		ends = append(ends, mustPass(t, enters(t, New(s, name, 1))).Context().Done())
	}
	etcdtest.Eventually(t, 10*time.Second, "no entry", func() bool {
		runtime.GC()
		return len(partiesIn(t, client, name)) == 0
	})
	for _, end := range ends {
		<-end
	}
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
