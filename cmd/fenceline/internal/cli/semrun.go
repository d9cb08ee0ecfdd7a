package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/fenceline/fenceline/semaphore"
	"github.com/fenceline/fenceline/session"
)

// semRun is one permit for one command.
type semRun struct {
	*semFlags
	*holder
	permit *semaphore.Permit
}

func runSem(ctx context.Context, g *globals, f *semFlags, stderr io.Writer) error {
	h, stop, err := newHolder(g, &f.holdFlags, f.what(), stderr)
	if err != nil {
		return startFailed(err)
	}
	defer stop()
	r := &semRun{semFlags: f, holder: h}
	return h.around(ctx, r.acquire, func() error {
		return r.ended(r.run(r.permit, os.Stdin, r.environment(r.variables()...), r.interrupts.signals))
	}, func(ctx context.Context) error {
		if r.permit == nil {
			return nil
		}
		return r.permit.Release(ctx)
	})
}

func (r *semRun) acquire(ctx context.Context) (err error) {
	trace := &session.Trace{Queued: func(_, _ string, ahead int) {
		if ahead > 0 && r.verbose {
			go r.say("waiting, %d ahead", ahead)
		}
	}}
	if err := r.open(ctx, trace); err != nil {
		return err
	}
	began := time.Now()
	ctx, cancel := r.bound(ctx)
	defer cancel()
	m := semaphore.New(r.session, r.name, r.limit)
	take := m.Acquire
	if r.willNotWait() {
		take = m.TryAcquire
	}
	spoke, err := r.patiently(ctx, r.look, func(ctx context.Context) error {
		r.permit, err = take(ctx, r.units)
		return err
	})
	if err != nil {
		return r.refused(ctx, err)
	}
	r.acquired("acquired", spoke, began)
	return nil
}

// look says who has the units.
func (r *semRun) look(ctx context.Context) string {
	f := &named{namespace: r.namespace, kind: semaphoreKind, name: r.name}
	l, err := frontOf(ctx, r.client, f)
	if err != nil {
		return ""
	}
	return inTheWay(l, r.session.Lease(), "")
}

// refused is the exit that says why the units were not to be had. What no waiting would change is a failure whatever
// the flags say of conflicts: nobody should skip for ever.
func (r *semRun) refused(ctx context.Context, err error) error {
	var limit *semaphore.LimitError
	var full *semaphore.ExhaustedError
	switch {
	case errors.Is(err, errWaited):
		if trouble := r.session.Healthy(); trouble != nil {
			return unavailableErrorf("%s: %w: %w", r.what(), errWaited, trouble)
		}
		return r.conflicts(r.what(), because(fmt.Sprintf("not free within %v", r.wait), r.why(ctx, r.look)))
	case errors.As(err, &full):
		why := "no unit is free, or others wait for one"
		if r.units > 1 {
			why = fmt.Sprintf("fewer than %d units are free, or others wait for them", r.units)
		}
		if by := full.By(); by != "" {
			why += ": held by " + by
		}
		return r.conflicts(r.what(), why)
	case errors.As(err, &limit):
		return &ExitError{Code: exitFailure, Err: fmt.Errorf("%s: %s", r.what(), limitText(limit))}
	case errors.Is(err, semaphore.ErrTooMany):
		_, why, _ := strings.Cut(err.Error(), fmt.Sprintf(": %d, ", r.units)) // its limit
		return &ExitError{Code: exitFailure, Err: fmt.Errorf("%s: --units %d: %s", r.what(), r.units, why)}
	}
	return unavailableErrorf("%w", about(r.what(), err))
}

func limitText(e *semaphore.LimitError) string {
	if e.Stored == 0 {
		return "nobody has stored a limit yet, and --limit gives none"
	}
	return fmt.Sprintf("--limit %d: the stored limit is %d; \"fenceline sem resize\" changes it", e.Want, e.Stored)
}

// variables say what the command's permit is.
func (r *semRun) variables() []string {
	return []string{"FENCELINE_SEMAPHORE_NAME=" + r.name, "FENCELINE_UNITS=" + strconv.FormatInt(r.permit.Units(), 10)}
}
