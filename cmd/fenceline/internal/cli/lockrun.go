package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/child"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

var errWaited = errors.New("not free in time")

// lockRun is one hold for one command: acquire, run, give back.
type lockRun struct {
	*lockFlags
	*holder

	behind context.Context // ends when somebody is ahead
	hold   held
	locks  []*lock.Lock // its parts, in the order of the names
}

func runLocked(ctx context.Context, g *globals, f *lockFlags, stderr io.Writer) error {
	h, stop, err := newHolder(g, &f.holdFlags, f.what(), stderr)
	if err != nil && !f.dashes && len(f.command) > 1 {
		err = fmt.Errorf("%w; if it is a NAME: behind several NAMEs there must be --", err)
	}
	if err != nil {
		return startFailed(err)
	}
	defer stop()
	r := &lockRun{lockFlags: f, holder: h}
	err = r.interrupts.during(ctx, r.acquire)
	if interrupted := r.interrupts.exit(); interrupted != nil {
		err = interrupted
	} else if err == nil {
		err = r.ended(r.run(r.hold, os.Stdin, r.environment(r.variables()...), r.interrupts.signals))
	}
	return r.interrupts.during(ctx, func(ctx context.Context) error {
		ctx, cancel := r.bounded(ctx)
		defer cancel()
		defer r.close(ctx)
		if r.hold != nil && r.giveBack(ctx, r.hold.Release) && err == nil {
			return &ExitError{Code: exitLost}
		}
		return err
	})
}

// acquire answers an ExitError.
func (r *lockRun) acquire(ctx context.Context) error {
	if err := r.open(ctx, r.trace()); err != nil {
		return err
	}
	began := time.Now()
	if err := r.take(ctx); err != nil {
		return r.refused(err)
	}
	r.acquired(began)
	return nil
}

// trace notes, and says, who is ahead.
func (r *lockRun) trace() *session.Trace {
	var isBehind context.CancelFunc
	r.behind, isBehind = context.WithCancel(context.Background())
	return &session.Trace{Queued: func(_, name string, ahead int) {
		if ahead == 0 {
			return
		}
		isBehind()
		switch {
		case !r.verbose:
		case len(r.names) > 1:
			go r.say("waiting, %d ahead for %q", ahead, name)
		default:
			go r.say("waiting, %d ahead", ahead)
		}
	}}
}

// refused is the exit that says why the lock was not to be had.
func (r *lockRun) refused(err error) error {
	why, trouble := "", r.session.Healthy()
	switch {
	case errors.Is(err, errWaited) && trouble != nil:
		return unavailableErrorf("%s: %w: %w", r.what(), errWaited, trouble)
	case errors.Is(err, errWaited):
		why = fmt.Sprintf("not free within %v", r.wait)
	case errors.Is(err, lock.ErrQueueFull):
		why = fmt.Sprintf("too many are waiting, see --max-waiters %d", r.maxWaiters)
	case errors.Is(err, lock.ErrHeld) && len(r.names) > 1 && trouble != nil:
		return unavailableErrorf("%s: %w", r.what(), trouble)
	case errors.Is(err, lock.ErrHeld) && len(r.names) > 1:
		why = "somebody else holds one of them"
	case errors.Is(err, lock.ErrHeld):
		why = "somebody else holds it"
	default:
		return unavailableErrorf("%w", err)
	}
	if r.skipOK {
		return &ExitError{Code: 0}
	}
	return &ExitError{Code: r.conflict, Err: fmt.Errorf("%s: %s", r.what(), why)}
}

func startFailed(err error) error {
	code := exitCannotRun
	var start *child.StartError
	if errors.As(err, &start) {
		code = start.Code
	}
	return &ExitError{Code: code, Err: err}
}
