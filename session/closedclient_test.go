package session_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fenceline/fenceline/barrier"
	"github.com/fenceline/fenceline/cron"
	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/registry"
	"github.com/fenceline/fenceline/semaphore"
	"github.com/fenceline/fenceline/session"
)

// ours is how many goroutines run code of this module that is not a test's.
func ours() int {
	buf := make([]byte, 1<<20)
	n := 0
	for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(g, "fenceline/internal/keeper") || strings.Contains(g, "fenceline/internal/watch") || strings.Contains(g, "fenceline/internal/line") {
			n++
		}
	}
	return n
}

// Not parallel: it counts goroutines.
func TestClosedClientIsTheEndOfTheSession(t *testing.T) {
	before := ours()
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	other := open(t, etcdtest.Shared(t).Client(t))
	theirs, err := lock.New(other, name+"-held").Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = election.New(other, name).Campaign(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	s, err := session.Open(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	l, err := lock.New(s, name).Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	reg, err := registry.Register(t.Context(), s, name, registry.Instance{Addr: "10.0.0.1:80"})
	if err != nil {
		t.Fatal(err)
	}
	gate := barrier.NewGate(s, name)
	if err := gate.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	sched := cron.New(s)
	if err := sched.Add(name, "@daily", func(context.Context, cron.Tick) error { return nil }); err != nil {
		t.Fatal(err)
	}
	verbs := map[string]func(context.Context) error{
		"Acquire":         func(ctx context.Context) error { _, err := lock.New(s, name+"-held").Acquire(ctx); return err },
		"AcquireWrite":    func(ctx context.Context) error { _, err := lock.NewRW(s, name+"-free").AcquireWrite(ctx); return err },
		"AcquireAll":      func(ctx context.Context) error { _, err := lock.AcquireAll(ctx, lock.New(s, name+"-held")); return err },
		"Campaign":        func(ctx context.Context) error { _, err := election.New(s, name).Campaign(ctx, ""); return err },
		"Lead":            func(ctx context.Context) error { return election.New(s, name).Lead(ctx, "", nil) },
		"semaphore":       func(ctx context.Context) error { _, err := semaphore.New(s, name, 1).Acquire(ctx, 1); return err },
		"semaphore, try":  func(ctx context.Context) error { _, err := semaphore.New(s, name, 1).TryAcquire(ctx, 1); return err },
		"Enter":           func(ctx context.Context) error { _, err := barrier.New(s, name, 2).Enter(ctx); return err },
		"gate.Wait":       gate.Wait,
		"latch.Wait":      barrier.NewLatch(s, name, 2).Wait,
		"latch.CountDown": func(ctx context.Context) error { return barrier.NewLatch(s, name, 2).CountDown(ctx, "x") },
		"Register": func(ctx context.Context) error {
			_, err := registry.Register(ctx, s, name, registry.Instance{Addr: "10.0.0.2:80"})
			return err
		},
		"Update": func(ctx context.Context) error {
			return reg.Update(ctx, registry.Instance{Addr: "10.0.0.1:80", Version: "2"})
		},
		"Deregister":        reg.Deregister,
		"cron":              sched.Run,
		"Release of a hold": l.Release,
	}
	waits := []string{"Acquire", "AcquireAll", "Campaign", "gate.Wait", "latch.Wait", "Enter", "cron"}
	ended := make(chan string, len(waits))
	for _, verb := range waits {
		go func() {
			if err := verbs[verb](context.Background()); !errors.Is(err, session.ErrClosed) {
				t.Errorf("%s, which was waiting: %v", verb, err)
			}
			ended <- verb
		}()
	}
	etcdtest.Eventually(t, 10*time.Second, "they wait", func() bool {
		return len(etcdtest.Keys(t, other.Client(), "fenceline/lock/"+name+"-held/")) == 3 && len(etcdtest.Keys(t, other.Client(), "fenceline/election/"+name+"/")) == 2
	})
	client.Close()
	for range waits {
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			t.Fatal("a call still waits")
		}
	}
	select {
	case <-l.Context().Done():
		if cause := context.Cause(l.Context()); !errors.Is(cause, session.ErrClosed) || !strings.Contains(cause.Error(), "client") {
			t.Errorf("the hold ended with %v", cause)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the hold goes on")
	}
	if s.State() != session.Closed || s.Context().Err() == nil || !errors.Is(s.Healthy(), session.ErrClosed) {
		t.Errorf("state %v, %v", s.State(), s.Healthy())
	}
	for verb, f := range verbs {
		began := time.Now()
		err := f(context.Background())
		if !errors.Is(err, session.ErrClosed) || errors.Is(err, session.ErrLost) {
			t.Errorf("%s: %v", verb, err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("%s took %v", verb, took)
		}
	}
	began := time.Now()
	_ = s.Close(context.Background()) // the lease is not given back, and that is said
	if took := time.Since(began); took > time.Second {
		t.Errorf("Close took %v", took)
	}
	_ = theirs
	etcdtest.Eventually(t, 5*time.Second, "no goroutine of ours but the other session's", func() bool { return ours() <= before+8 })
}

func TestCloseAfterTheClientLeavesNothing(t *testing.T) {
	client := etcdtest.Shared(t).Client(t)
	ignore := goleak.IgnoreCurrent()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, ctx := range []context.Context{context.Background(), ended} {
		client = etcdtest.Shared(t).Client(t)
		s, err := session.Open(t.Context(), client)
		if err != nil {
			t.Fatal(err)
		}
		client.Close()
		began := time.Now()
		err = s.Close(ctx)
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("Close took %v: %v", took, err)
		}
		if err := goleak.Find(ignore); err != nil {
			t.Error(err)
		}
	}
}
