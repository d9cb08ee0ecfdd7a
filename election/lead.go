package election

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/fenceline/fenceline/internal/line"
	"github.com/fenceline/fenceline/internal/mirror"
	"github.com/fenceline/fenceline/session"
)

// Lead campaigns, runs fn as leader, and campaigns again whenever the term was lost, until ctx ends or fn returns
// while it leads. It answers fn's error; when ctx ends while it waits, ctx's cause.
//
// fn's ctx ends with the caller's or with the term, whichever is first; context.Cause says why. The term is resigned
// after fn has returned, or panicked, never before, and a new campaign starts after that, too. An fn that ignores its
// ctx therefore runs on while others may lead already: the Session's logger says so, and its Trace.Overrun, as soon as
// etcd may have given the election to another. What fn returns when its term was lost is logged and not returned. An fn
// that resigns or transfers by itself, and returns, ends Lead. So does a refusal by etcd (permission, space), and the
// end of the Session. After ctx Lead awaits etcd's answer to its Resign for up to 5 s.
func (e *Election) Lead(ctx context.Context, value string, fn func(ctx context.Context, t *Term) error) error {
	if e.err != nil {
		return e.err
	}
	c := &checker{check: e.opts.check}
	for {
		again, err := e.leadOnce(ctx, c, value, fn)
		if !again {
			return err
		}
		if err != nil {
			e.keeper.Log.Info("standing again", "election", e.name, "error", err)
		}
	}
}

// leadOnce is one term, or the attempt. again says that it was lost.
func (e *Election) leadOnce(ctx context.Context, c *checker, value string, fn func(context.Context, *Term) error) (again bool, err error) {
	healthy, stop, err := e.whileHealthy(ctx, c)
	if err != nil {
		return false, e.failed("lead", err)
	}
	defer stop()
	t, err := e.Campaign(healthy, value)
	switch {
	case err != nil && ctx.Err() == nil && errors.Is(err, ErrUnhealthy):
		return true, err
	case err != nil:
		return false, err
	}
	inside, outside := line.Inside(healthy, t.Context())
	overrun := e.watchOverrun(t)
	defer func() {
		lost := t.Context().Err() != nil && errors.Is(context.Cause(t.Context()), session.ErrLost)
		again = ctx.Err() == nil && (lost || errors.Is(context.Cause(healthy), ErrUnhealthy))
		overrun()
		outside()
		bounded, done := context.WithTimeout(context.WithoutCancel(ctx), mirror.Patience)
		defer done()
		resigned := t.Resign(bounded)
		switch {
		case resigned == nil, errors.Is(resigned, session.ErrLost), errors.Is(resigned, session.ErrNotHeld): // by fn itself
		case errors.Is(resigned, session.ErrClosed):
			err = errors.Join(err, resigned)
		default:
			e.keeper.Log.Warn("not resigned yet", "election", e.name, "error", resigned)
		}
	}()
	return false, fn(inside, t)
}

// margin is what fn has to return after its term has ended. After a deadline, etcd gives the entry away at the soonest
// after so long.
const margin = 250 * time.Millisecond

// watchOverrun says so if the term is over, and others may lead, before the function it answers was called.
func (e *Election) watchOverrun(t *Term) func() {
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		select {
		case <-t.Context().Done():
		case <-done:
			return
		}
		over := time.Now()
		timer := time.NewTimer(margin)
		defer timer.Stop()
		select {
		case <-timer.C:
			by := time.Since(over)
			e.keeper.Log.Error("the function of Lead still runs, though others may lead", "election", e.name, "since", by, "cause", context.Cause(t.Context()))
			if f := e.keeper.Hooks.Overrun; f != nil {
				f("election", e.name, by)
			}
		case <-done:
		}
	})
	return func() {
		close(done)
		wg.Wait()
	}
}

// whileHealthy waits until the check passes, and answers a ctx that ends with ErrUnhealthy when it does not any more.
func (e *Election) whileHealthy(ctx context.Context, c *checker) (context.Context, func(), error) {
	if e.opts.check == nil {
		return ctx, func() {}, nil
	}
	every := e.keeper.TTL / 3
	said := false
	for {
		err := c.ask(ctx, every)
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		if err == nil {
			break
		}
		if !said {
			e.keeper.Log.Warn("not standing while unhealthy", "election", e.name, "error", err)
			said = true
		}
		if !mirror.Sleep(ctx, every) {
			return nil, nil, context.Cause(ctx)
		}
	}
	healthy, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for mirror.Sleep(healthy, every) {
			if err := c.ask(healthy, every); err != nil && healthy.Err() == nil {
				cancel(fmt.Errorf("%w: %w", ErrUnhealthy, err))
			}
		}
	})
	return healthy, func() {
		cancel(nil)
		wg.Wait()
	}, nil
}

// checker asks one check at a time: one that hangs is not asked again before it has answered.
type checker struct {
	check  func(context.Context) error
	answer chan error // of the one that runs; nil: none does
}

// ask wants an answer within so long. A check that does not answer in time counts as failed, though it may still run.
func (c *checker) ask(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if c.answer == nil {
		answer := make(chan error, 1)
		c.answer = answer
		go func() { answer <- c.check(ctx) }()
	}
	select {
	case err := <-c.answer:
		c.answer = nil
		return err
	case <-ctx.Done():
		return fmt.Errorf("no answer within %v: %w", within, context.Cause(ctx))
	}
}
