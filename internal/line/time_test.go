package line

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/queue"
)

// jumpClock goes like any other, and ahead when the test says so: what a process sees that was stopped, or whose
// machine slept, before any of its timers has fired.
type jumpClock struct {
	start time.Time
	ahead atomic.Int64
}

func (c *jumpClock) Elapsed() time.Duration {
	return time.Since(c.start) + time.Duration(c.ahead.Load())
}

func (c *jumpClock) jump(d time.Duration) { c.ahead.Add(int64(d)) }

func jumping(t *testing.T, ttl time.Duration) (*Ref, *jumpClock) {
	t.Helper()
	clock := &jumpClock{start: time.Now()}
	name := etcdtest.Name(t)
	k, err := keeper.Open(t.Context(), keeper.Config{Client: etcdtest.Shared(t).Client(t), TTL: ttl, Namespace: "fenceline/",
		Record: "{}", Log: slog.New(slog.DiscardHandler), Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return &Ref{Keeper: k, Kind: "test", Name: name, Prefix: name + "/", Policy: queue.Mutex}, clock
}

func TestEveryQuestionLooksAtTheClock(t *testing.T) {
	for question, lost := range map[string]func(h *Hold) bool{
		"Context": func(h *Hold) bool { return errors.Is(context.Cause(h.Context()), keeper.ErrExpired) },
		"Context's Err": func(h *Hold) bool {
			return h.ctx.Err() != nil && errors.Is(context.Cause(h.ctx), keeper.ErrExpired)
		},
		"Deadline": func(h *Hold) bool { return h.Deadline().IsZero() },
		"Release":  func(h *Hold) bool { return errors.Is(h.Release(t.Context()), keeper.ErrExpired) },
	} {
		r, clock := jumping(t, time.Minute)
		h := mustAcquire(t, r, &Options{})
		if h.Context().Err() != nil || h.Deadline().IsZero() {
			t.Fatalf("%s: not held", question)
		}
		clock.jump(time.Minute) // no timer has fired yet
		if !lost(h) {
			t.Errorf("%s does not see that the time is over", question)
		}
	}
}

func TestHandOffAfterTheDeadlineIsRefused(t *testing.T) {
	r, clock := jumping(t, time.Minute)
	h := mustAcquire(t, r, &Options{})
	holds := r.start(t, 1, &Options{})
	before := h.Lease(0)
	clock.jump(time.Minute)
	if err := h.Release(t.Context()); !errors.Is(err, keeper.ErrExpired) {
		t.Errorf("Release: %v", err)
	}
	if next := <-holds; next.Lease(0) == before {
		t.Error("granted under a lease whose time is over")
	} else {
		mustRelease(t, next)
	}
}

func TestGrantNeedsAThirdOfTheTTL(t *testing.T) {
	const ttl = time.Minute
	for what, jump := range map[string]time.Duration{"a hand-off": ttl * 7 / 10, "a lingering entry": ttl * 7 / 10} {
		r, clock := jumping(t, ttl)
		opts := &Options{Linger: time.Hour}
		h := mustAcquire(t, r, opts)
		var holds <-chan *Hold
		if what == "a hand-off" {
			holds = r.start(t, 1, opts)
		}
		clock.jump(jump)
		mustRelease(t, h)
		if holds != nil {
			h = <-holds
		} else {
			h = mustAcquire(t, r, opts)
		}
		if left := h.attempt.epoch.Remaining(); left < ttl/3 {
			t.Errorf("%s was granted with %v left of %v", what, left, ttl)
		}
		mustRelease(t, h)
	}
}
