package semaphore_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/semaphore"
	"github.com/fenceline/fenceline/session"
)

func TestExhaustedNamesUpToThreeWhoHold(t *testing.T) {
	m := etcdtest.Shared(t)
	name := etcdtest.Name(t)
	var permits []*semaphore.Permit
	for _, who := range []string{"a", "b", "c", "d"} {
		permits = append(permits, acquire(t, semaphore.New(open(t, m.Client(t), session.WithName(who)), name, 4), 1))
	}
	mine := semaphore.New(open(t, m.Client(t)), name, 4)
	_, err := mine.TryAcquire(t.Context(), 2)
	var full *semaphore.ExhaustedError
	if !errors.Is(err, semaphore.ErrExhausted) || !errors.As(err, &full) {
		t.Fatal(err)
	}
	t.Log(err)
	if full.Name != name || full.Limit != 4 || full.Taken != 4 || full.Want != 2 || full.Holding != 4 || len(full.Holders) != 3 {
		t.Errorf("%+v", full)
	}
	for i, want := range []string{"a", "b", "c"} {
		if h := full.Holders[i]; h.Record.Name != want || h.PID != os.Getpid() || h.Standing != session.Holds || h.Here {
			t.Errorf("holder %d is %+v, want %s", i, h, want)
		}
	}
	if !strings.Contains(err.Error(), ": held by a on host ") || !strings.HasSuffix(err.Error(), " and 1 more") {
		t.Errorf("%q names nobody", err)
	}
	for _, p := range permits {
		if err := p.Release(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestExhaustedByThisSessionSaysSo(t *testing.T) {
	s := open(t, etcdtest.Shared(t).Client(t))
	m := semaphore.New(s, etcdtest.Name(t), 2)
	p, q := acquire(t, m, 1), acquire(t, m, 1)
	_, err := m.TryAcquire(t.Context(), 1)
	if err == nil || !strings.HasSuffix(err.Error(), "held by another goroutine of this process") {
		t.Error(err)
	}
	for _, p := range []*semaphore.Permit{p, q} {
		if err := p.Release(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestEndedWaitForUnitsSaysBehindWhom(t *testing.T) {
	m := etcdtest.Shared(t)
	name := etcdtest.Name(t)
	p := acquire(t, semaphore.New(open(t, m.Client(t), session.WithName("encoder")), name, 2), 2)
	mine := semaphore.New(open(t, m.Client(t)), name, 2)
	var waited *session.WaitError
	for patience := time.Second; waited == nil && patience < time.Minute; patience *= 2 {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_, err := mine.Acquire(ctx, 1)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, session.ErrLost) || errors.Is(err, semaphore.ErrExhausted) {
			t.Fatalf("the wait ended with %v", err)
		}
		errors.As(err, &waited)
		t.Log(err)
	}
	if waited == nil || waited.Name != name || waited.Holder.Record.Name != "encoder" || waited.Holder.Here {
		t.Errorf("%+v", waited)
	}
	if err := p.Release(t.Context()); err != nil {
		t.Error(err)
	}
}
