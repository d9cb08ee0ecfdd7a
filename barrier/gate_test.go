package barrier

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

func TestGateStaysClosedWhenItsCloserDies(t *testing.T) {
	client, s, name := fixture(t)
	closer, err := session.Open(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	g := NewGate(s, name)
	if err := g.Wait(t.Context()); err != nil { // never closed
		t.Fatal(err)
	}
	for range 2 {
		if err := NewGate(closer, name).Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := closer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	passed := make(chan error, 1)
	go func() { passed <- g.Wait(t.Context()) }()
	waits(t, passed)
	revoke(t, client, s) // the lease of who waits has no part in it
	waits(t, passed)
	for range 2 {
		if err := g.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-passed; err != nil {
		t.Fatal(err)
	}
	if keys := etcdtest.Keys(t, client, "fenceline/gate/"+name); len(keys) != 0 {
		t.Errorf("left: %q", keys)
	}
}

func TestWaitsEndWithTheirContext(t *testing.T) {
	client, s, name := fixture(t)
	g := NewGate(s, name)
	if err := g.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := g.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if err := NewLatch(s, name, 2).Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if keys := etcdtest.Keys(t, client, "fenceline/latch/"+name); len(keys) != 0 {
		t.Errorf("left: %q", keys)
	}
}

func TestLatchCountsAnIDOnceWhoeverCalls(t *testing.T) {
	client, s, name := fixture(t)
	opens := make(chan error, 1)
	go func() { opens <- NewLatch(s, name, 10).Wait(t.Context()) }()
	sessions := []*session.Session{s, opened(t, client), opened(t, client)}
	var wg sync.WaitGroup
	for i := range 9 * 20 {
		l := NewLatch(sessions[i%3], name, 10)
		wg.Go(func() {
			if err := l.CountDown(t.Context(), fmt.Sprint(i%9)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	l := NewLatch(s, name, 10)
	if left, err := l.Left(t.Context()); err != nil || left != 1 {
		t.Fatalf("left %d, %v", left, err)
	}
	waits(t, opens)
	for i := range 3 { // the last one, and more than that
		if err := l.CountDown(t.Context(), fmt.Sprintf("last/%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-opens; err != nil {
		t.Fatal(err)
	}
	if left, err := l.Left(t.Context()); err != nil || left != 0 {
		t.Fatalf("left %d, %v", left, err)
	}
}

func TestAnotherCountOfALatchIsRefused(t *testing.T) {
	_, s, name := fixture(t)
	if err := NewLatch(s, name, 2).CountDown(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	l := NewLatch(s, name, 3)
	_, left := l.Left(t.Context())
	for _, err := range []error{l.CountDown(t.Context(), "b"), l.Wait(t.Context()), left} {
		if !errors.Is(err, ErrParties) || !strings.Contains(err.Error(), "2, not 3") {
			t.Error(err)
		}
	}
}

func TestVerbsThatWaitForEtcdOnlyAreBounded(t *testing.T) {
	t.Parallel()
	p := etcdtest.NewProxy(t, etcdtest.Shared(t))
	s := opened(t, p.Client(t), session.WithTTL(60*time.Second))
	p.Blackhole()
	defer p.Heal()
	l := NewLatch(s, etcdtest.Name(t), 2)
	var wg sync.WaitGroup
	for what, do := range map[string]func(context.Context) error{
		"close": NewGate(s, "a").Close, "open": NewGate(s, "a").Open,
		"count": func(ctx context.Context) error { return l.CountDown(ctx, "a") },
		"left":  func(ctx context.Context) error { _, err := l.Left(ctx); return err },
	} {
		wg.Go(func() {
			began := time.Now()
			err := do(context.Background())
			if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), p.Endpoint()) || took > 7*time.Second {
				t.Errorf("%s after %v: %v", what, took, err)
			}
		})
	}
	wg.Wait()
}
