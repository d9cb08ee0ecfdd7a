package cron

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

// far is a schedule whose tick of now is in time, and whose next is far.
const far = "@every 1h"

// hourly is two processes with one job whose tick comes at once.
func hourly(t *testing.T, name string, fns []func(context.Context, Tick) error, opts ...Option) (*clock, []*Scheduler) {
	t.Helper()
	c := newClock("2026-01-01T11:59:59.99Z")
	var all []*Scheduler
	for _, fn := range fns {
		s := c.process(t, etcdtest.Shared(t).Client(t))
		add(t, s, name, far, fn, opts...)
		run(t, s)
		following(t, s)
		all = append(all, s)
	}
	c.forward(10 * time.Millisecond)
	return c, all
}

func TestFailedTickIsRunAgainElsewhereWithALargerToken(t *testing.T) {
	t.Parallel()
	name, b := etcdtest.Name(t), &book{}
	fail := func(_ context.Context, t Tick) error {
		if t.Attempt < 3 {
			return errors.New("not yet")
		}
		return nil
	}
	c, all := hourly(t, name, []func(context.Context, Tick) error{b.job(0, fail), b.job(1, fail)}, WithRetries(5))
	c.until(t, "three runs", func() bool { return len(history(t, all[0], name)) == 3 })
	ticks := b.all()
	for i, tick := range ticks {
		if tick.Attempt != i+1 || !tick.Scheduled.Equal(ticks[0].Scheduled) || i > 0 && tick.Token <= ticks[i-1].Token {
			t.Errorf("attempt %d: %+v", i+1, tick)
		}
	}
	if b.by[0] == b.by[1] || b.by[1] == b.by[2] {
		t.Errorf("by %v", b.by)
	}
	for i, r := range history(t, all[0], name) {
		if want := []string{"not yet", "not yet", ""}[i]; r.Err != want || r.Attempt != i+1 {
			t.Errorf("%+v", r)
		}
	}
	for range 20 {
		c.forward(time.Second)
		time.Sleep(5 * time.Millisecond)
	}
	if b.len() != 3 {
		t.Errorf("%d runs", b.len())
	}
}

func TestWithoutRetryAFailureIsFinal(t *testing.T) {
	t.Parallel()
	name, b := etcdtest.Name(t), &book{}
	c, all := hourly(t, name, []func(context.Context, Tick) error{b.job(0, func(context.Context, Tick) error { return errors.New("no") })})
	c.until(t, "a run", func() bool { return len(history(t, all[0], name)) == 1 })
	for range 20 {
		c.forward(time.Second)
		time.Sleep(5 * time.Millisecond)
	}
	if b.len() != 1 {
		t.Errorf("%d runs", b.len())
	}
	jobs, err := List(t.Context(), etcdtest.Shared(t).Client(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range jobs {
		if j.Name == name && (j.Latest == nil || j.Latest.Err != "no" || j.Waiting != 0) {
			t.Errorf("%+v", j)
		}
	}
}

func TestPanicAndGoexitAreFailures(t *testing.T) {
	t.Parallel()
	name := etcdtest.Name(t)
	c, all := hourly(t, name, []func(context.Context, Tick) error{func(_ context.Context, t Tick) error {
		switch t.Attempt {
		case 1:
			panic("oh " + strings.Repeat("ü", 400))
		case 2:
			runtime.Goexit()
		}
		return errors.New("")
	}}, WithRetries(2))
	c.until(t, "three runs", func() bool { return len(history(t, all[0], name)) == 3 })
	h := history(t, all[0], name)
	if !strings.HasPrefix(h[0].Err, "panic: oh") || len(h[0].Err) > 600 || h[1].Err == "" || h[2].Err == "" {
		t.Errorf("%+v", h)
	}
}

// untilLost waits for the end of its ctx, and answers the cause.
func untilLost(cause chan<- error) func(context.Context, Tick) error {
	return func(ctx context.Context, t Tick) error {
		if t.Attempt > 1 {
			return nil
		}
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return nil // which is not to be believed
	}
}

func TestRunWhoseLeaseIsLostEndsIsNotRecordedAndIsRunAgainAtOnce(t *testing.T) {
	t.Parallel()
	client, name, b := etcdtest.Shared(t).Client(t), etcdtest.Name(t), &book{}
	cause := make(chan error, 1)
	first, second := process(t, client, 0), process(t, client, 0)
	add(t, first, name, "@every 2s", b.job(0, untilLost(cause)), WithRetries(1))
	run(t, first)
	eventually(t, "a run", func() bool { return b.len() == 1 })
	add(t, second, name, far, b.job(1, nil), WithRetries(1))
	run(t, second)
	following(t, second)

	lost := time.Now()
	if _, err := client.Revoke(t.Context(), first.keeper.Current().ID()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another attempt", func() bool { return b.len() > 1 })
	if took := time.Since(lost); took > 900*time.Millisecond { // less than a nap: it was noticed, not polled
		t.Errorf("another attempt after %v", took)
	}
	if err := <-cause; !errors.Is(err, session.ErrLost) {
		t.Errorf("cause: %v", err)
	}
	eventually(t, "both runs", func() bool { return len(history(t, second, name)) >= 2 })
	h := history(t, second, name)
	if h[0].Err != errGone || h[0].Attempt != 1 || !h[0].Finished.IsZero() || h[1].Err != "" || h[1].Attempt != 2 {
		t.Errorf("%+v", h)
	}
	if ticks := b.all(); ticks[1].Token <= ticks[0].Token || ticks[1].Attempt != 2 || !ticks[1].Scheduled.Equal(ticks[0].Scheduled) {
		t.Errorf("%+v", ticks)
	}
}

func TestRunWhoseClaimIsDeletedOrOverwrittenEnds(t *testing.T) {
	t.Parallel()
	client := etcdtest.Shared(t).Client(t)
	for what, harm := range map[string]func(key string) error{
		"deleted":     func(key string) error { _, err := client.Delete(t.Context(), key); return err },
		"overwritten": func(key string) error { _, err := client.Put(t.Context(), key, "mine"); return err },
	} {
		name, b := etcdtest.Name(t), &book{}
		cause := make(chan error, 1)
		c, all := hourly(t, name, []func(context.Context, Tick) error{b.job(0, untilLost(cause))}, WithRetries(1))
		c.until(t, "a run", func() bool { return b.len() == 1 })
		if err := harm("fenceline/cron/" + name + "/claim/0"); err != nil {
			t.Fatal(err)
		}
		if err := <-cause; !errors.Is(err, session.ErrEntryGone) || !errors.Is(err, session.ErrLost) {
			t.Errorf("%s: %v", what, err)
		}
		c.until(t, "two runs", func() bool { return len(history(t, all[0], name)) == 2 })
		if h := history(t, all[0], name); h[0].Err != errGone || h[1].Err != "" || b.len() != 2 {
			t.Errorf("%s: %+v", what, h)
		}
		eventually(t, "no claim", func() bool { return len(claimKeys(t, client, name)) == 0 })
	}
}

// A runner that was cut off finds its claim lost by its own clock, before etcd lets others have it.
func TestRunThatIsCutOffEndsBeforeItIsRunAgain(t *testing.T) {
	t.Parallel()
	name, b := etcdtest.Name(t), &book{}
	p := etcdtest.NewProxy(t, etcdtest.Shared(t))
	ended := make(chan time.Time, 1)
	first := process(t, p.Client(t), 0, session.WithTTL(2*time.Second))
	add(t, first, name, "@every 1s", b.job(0, func(ctx context.Context, _ Tick) error {
		<-ctx.Done()
		ended <- time.Now()
		if err := context.Cause(ctx); !errors.Is(err, session.ErrExpired) {
			t.Errorf("cause: %v", err)
		}
		return nil
	}), WithRetries(1))
	run(t, first)
	eventually(t, "a run", func() bool { return b.len() == 1 })
	again := make(chan time.Time, 1)
	second := process(t, etcdtest.Shared(t).Client(t), 0)
	add(t, second, name, far, func(context.Context, Tick) error { again <- time.Now(); return nil })
	run(t, second)
	p.Cut()
	if e, a := <-ended, <-again; !e.Before(a) {
		t.Errorf("ended %v after it was run again", e.Sub(a))
	}
	p.Heal()
}

// With its own fn still busy, a process whose claim was lost leaves the job to others.
func TestJobIsNotStartedWhereALostRunStillGoesOn(t *testing.T) {
	t.Parallel()
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	release, b := make(chan struct{}), &book{}
	s := process(t, client, 0)
	add(t, s, name, "@every 1s", b.job(0, func(context.Context, Tick) error { <-release; return nil }))
	run(t, s)
	eventually(t, "a run", func() bool { return b.len() == 1 })
	if _, err := client.Revoke(t.Context(), s.keeper.Current().ID()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2500 * time.Millisecond) // nothing to wait for: that nothing happens is the promise
	if b.len() != 1 {
		t.Errorf("%d runs", b.len())
	}
	close(release)
	eventually(t, "the next", func() bool { return b.len() > 1 })
}
