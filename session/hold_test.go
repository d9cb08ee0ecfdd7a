package session_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fenceline/fenceline/barrier"
	"github.com/fenceline/fenceline/cron"
	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/fencetest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/semaphore"
	"github.com/fenceline/fenceline/session"
)

// Each is held, looked at, given back, and looked at again.
func TestAllHoldsHaveAContextADeadlineAndALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		s := etcd.Session(t)
		must := func(h session.Hold, err error) session.Hold {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			return h
		}
		ctx := t.Context()
		l, err := lock.New(s, "x").Acquire(ctx)
		aLock := must(l, err)
		set, err := lock.AcquireAll(ctx, lock.New(s, "y"), lock.New(s, "z"))
		aSet := must(set, err)
		term, err := election.New(s, "x").Campaign(ctx, "")
		aTerm := must(term, err)
		permit, err := semaphore.New(s, "x", 1).Acquire(ctx, 1)
		aPermit := must(permit, err)
		pass, err := barrier.New(s, "x", 1).Enter(ctx)
		aPass := must(pass, err)
		for _, h := range []struct {
			name string
			session.Hold
			end func(context.Context) error
		}{{"lock", aLock, l.Release}, {"set", aSet, set.Release}, {"term", aTerm, term.Resign}, {"permit", aPermit, permit.Release}, {"pass", aPass, pass.Leave}} {
			if left := time.Until(h.Deadline()); left <= 0 || left > 15*time.Second || h.Context().Err() != nil {
				t.Errorf("%s: deadline in %v, %v", h.name, left, h.Context().Err())
			}
			if resp, err := etcd.Client(t).TimeToLive(ctx, h.Lease()); err != nil || resp.TTL <= 0 {
				t.Errorf("%s: lease %x: %v, %v", h.name, h.Lease(), resp, err)
			}
			if err := h.end(ctx); err != nil {
				t.Errorf("%s: %v", h.name, err)
			}
			if !h.Deadline().IsZero() || !errors.Is(context.Cause(h.Context()), session.ErrNotHeld) {
				t.Errorf("%s after its end: deadline %v, %v", h.name, h.Deadline(), context.Cause(h.Context()))
			}
		}
	})
}

func TestTickThatRunsIsAHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		s := etcd.Session(t)
		c := cron.New(s)
		ran := make(chan cron.Tick, 1)
		err := c.Add("x", "@every 1s", func(ctx context.Context, tick cron.Tick) error {
			var h session.Hold = tick
			if left := time.Until(h.Deadline()); left <= 0 || left > 15*time.Second || h.Context() != ctx || ctx.Err() != nil {
				t.Errorf("deadline in %v, %v", left, ctx.Err())
			}
			if resp, err := etcd.Client(t).TimeToLive(ctx, h.Lease()); err != nil || resp.TTL <= 0 {
				t.Errorf("lease %x: %v, %v", h.Lease(), resp, err)
			}
			select {
			case ran <- tick:
			default:
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- c.Run(ctx) }()
		tick := <-ran
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if !tick.Deadline().IsZero() || tick.Context().Err() == nil {
			t.Errorf("after its end: deadline %v", tick.Deadline())
		}
		if none := (cron.Tick{}); none.Lease() != 0 || !none.Deadline().IsZero() || none.Context() == nil {
			t.Error("of no run")
		}
	})
}
