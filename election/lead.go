package election

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/line"
	"github.com/fenceline/fenceline/internal/since"
	"github.com/fenceline/fenceline/session"
)

// Lead campaigns, runs fn as leader, and campaigns again whenever the term was lost, until ctx ends or fn returns
// while it leads. It returns fn's error; when ctx ends while it waits, ctx's cause.
//
// fn's ctx ends with the caller's or with the term, whichever is first; context.Cause says why. fn is not called when that
// has happened before it could begin. The term is resigned after fn has returned, or panicked, never before, and a new
// campaign starts after that, too. An fn that ignores its ctx therefore runs on while others may lead already: the
// Session's logger says so, and its Trace.Overrun, as soon as etcd may have given the election to another. What fn returns
// when its term was lost is logged and not returned. An fn that resigns or transfers by itself, and returns, ends Lead.
//
// A refusal by etcd (permission, space) does not end it: what is refused now may be allowed in a while. The Session's logger
// says so, once, and Lead stands again. What can never be is an error: a value that is too large for etcd, the end of the
// Session. After ctx Lead awaits etcd's answer to its Resign for up to 5 s.
func (e *Election) Lead(ctx context.Context, value string, fn func(ctx context.Context, t *Term) error) error {
	if e.err != nil {
		return e.err
	}
	ctx = since.Owned(ctx)
	c := &checker{check: e.opts.check, most: max(e.opts.threshold, 1)}
	said, failed := "", 0
	for {
		again, err := e.leadOnce(ctx, c, value, fn)
		switch {
		case !again:
			return err
		case err == nil:
			said, failed = "", 0
			continue
		case !refused(err):
			e.keeper.Log.Info("standing again", "election", e.name, "error", err)
			continue
		case err.Error() != said:
			said = err.Error()
			e.keeper.Log.Warn("cannot stand, and tries again", "election", e.name, "error", err)
		}
		failed++
		if !etcd.Refused.Sleep(ctx, failed) {
			return context.Cause(ctx)
		}
	}
}

// refused says that etcd does not let us stand for now.
func refused(err error) bool {
	return etcd.Final(err) && !errors.Is(err, session.ErrClosed) && !errors.Is(err, ErrUnhealthy)
}

// leadOnce is one term, or the attempt. again says that it was lost, or may be had later.
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
		return ctx.Err() == nil && refused(err) && !etcd.NeverFits(err), err
	}
	inside, outside := line.Inside(healthy, t.Context())
	stopTerm := e.watchOverrun(t.Context(), margin, "the function of Lead still runs, though others may lead")
	stopHealth := func() {}
	if e.opts.check != nil {
		stopHealth = e.watchOverrun(healthy, e.keeper.TTL/3, "the function of Lead still runs, though it is to step down")
	}
	defer func() {
		lost := t.Context().Err() != nil && errors.Is(context.Cause(t.Context()), session.ErrLost)
		again = ctx.Err() == nil && (lost || errors.Is(context.Cause(healthy), ErrUnhealthy))
		stopTerm()
		stopHealth()
		outside()
		bounded, done := context.WithTimeout(context.WithoutCancel(ctx), etcd.AnswerWithin)
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
	if inside.Err() != nil { // before it could begin: the process was stopped, say
		return false, context.Cause(inside)
	}
	return false, e.keeper.Labelled(inside, "election", e.name, func(ctx context.Context) error { return fn(ctx, t) })
}

// margin is what fn has to return after its term has ended. After a deadline, etcd gives the entry away at the soonest
// after so long.
const margin = 250 * time.Millisecond

// watchOverrun says so if the function that it returns is not called within so long after ctx has ended otherwise than with
// its caller's.
func (e *Election) watchOverrun(ctx context.Context, within time.Duration, what string) func() {
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		select {
		case <-ctx.Done():
		case <-done:
			return
		}
		cause := context.Cause(ctx)
		if !errors.Is(cause, session.ErrLost) && !errors.Is(cause, session.ErrClosed) && !errors.Is(cause, session.ErrNotHeld) && !errors.Is(cause, ErrUnhealthy) {
			return // the caller's own: nothing is overrun
		}
		over := time.Now()
		timer := time.NewTimer(within)
		defer timer.Stop()
		select {
		case <-timer.C:
			by := time.Since(over)
			e.keeper.Log.Error(what, "election", e.name, "since", by, "cause", cause)
			e.keeper.Overrun("election", e.name, by)
		case <-done:
		}
	})
	return func() {
		close(done)
		wg.Wait()
	}
}

// whileHealthy waits until the check passes, and returns a ctx that ends with ErrUnhealthy when it does not any more.
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
		if !etcd.Sleep(ctx, etcd.Jitter(every)) {
			return nil, nil, context.Cause(ctx)
		}
	}
	healthy, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for failed := 0; etcd.Sleep(healthy, etcd.Jitter(every)); {
			err := c.ask(healthy, every)
			switch {
			case healthy.Err() != nil:
				return
			case err == nil:
				failed = 0
				continue
			}
			if failed++; failed < c.most {
				e.keeper.Log.Info("the check has failed", "election", e.name, "error", err, "times", failed, "of", c.most)
				continue
			}
			e.keeper.Log.Warn("stepping down: unhealthy", "election", e.name, "error", err)
			cancel(fmt.Errorf("%w: %w", ErrUnhealthy, err))
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
	most   int        // so many failures in a row count
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
