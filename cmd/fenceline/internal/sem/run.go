package sem

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/underhold"
	"github.com/fenceline/fenceline/semaphore"
	"github.com/fenceline/fenceline/session"
)

// semRun is one permit for one command.
type semRun struct {
	*semFlags
	*underhold.Holder
	permit *semaphore.Permit
}

func runSem(ctx context.Context, g *app.Globals, f *semFlags, stderr io.Writer) error {
	h, stop, err := underhold.NewHolder(g, &f.Flags, f.what(), stderr)
	if err != nil {
		return app.StartFailed(err)
	}
	defer stop()
	r := &semRun{semFlags: f, Holder: h}
	return h.Around(ctx, r.acquire, func() error {
		return r.Ended(r.Run(r.permit, os.Stdin, r.Environment(r.variables()...), r.Interrupts.Signals))
	}, func(ctx context.Context) error {
		if r.permit == nil {
			return nil
		}
		return r.permit.Release(ctx)
	})
}

func (r *semRun) acquire(ctx context.Context) (err error) {
	trace := &session.Trace{Queued: func(_, _ string, ahead int) {
		if ahead > 0 && r.Verbose {
			go r.Say("waiting, %d ahead", ahead)
		}
	}}
	if err := r.Open(ctx, trace); err != nil {
		return err
	}
	began := time.Now()
	ctx, cancel := r.Bound(ctx)
	defer cancel()
	m := semaphore.New(r.Session, r.name, r.limit)
	take := m.Acquire
	if r.WillNotWait() {
		take = m.TryAcquire
	}
	spoke, err := r.Patiently(ctx, r.look, func(ctx context.Context) error {
		r.permit, err = take(ctx, r.units)
		return err
	})
	if err != nil {
		return r.refused(ctx, err)
	}
	r.Acquired("acquired", spoke, began)
	return nil
}

// look says who has the units.
func (r *semRun) look(ctx context.Context) string {
	f := &app.Named{Namespace: r.Namespace, Kind: app.SemaphoreKind, Name: r.name}
	l, err := underhold.FrontOf(ctx, r.Client, f)
	if err != nil {
		return ""
	}
	return underhold.InTheWay(l, r.Session.Lease(), "")
}

// refused is the exit that says why the units were not to be had. What no waiting would change is a failure whatever
// the flags say of conflicts: nobody should skip for ever.
func (r *semRun) refused(ctx context.Context, err error) error {
	var limit *semaphore.LimitError
	var full *semaphore.ExhaustedError
	switch {
	case errors.Is(err, underhold.ErrWaited):
		if trouble := r.Session.Healthy(); trouble != nil {
			return app.UnavailableErrorf("%s: %w: %w", r.what(), underhold.ErrWaited, trouble)
		}
		return r.Conflicts(r.what(), underhold.Because(fmt.Sprintf("not free within %v", r.Wait), r.Why(ctx, r.look)))
	case errors.As(err, &full):
		why := "no unit is free, or others wait for one"
		if r.units > 1 {
			why = fmt.Sprintf("fewer than %d units are free, or others wait for them", r.units)
		}
		if by := full.By(); by != "" {
			why += ": held by " + by
		}
		return r.Conflicts(r.what(), why)
	case errors.As(err, &limit):
		return &app.ExitError{Code: app.ExitFailure, Err: fmt.Errorf("%s: %s", r.what(), limitText(limit))}
	case errors.Is(err, semaphore.ErrTooMany):
		_, why, _ := strings.Cut(err.Error(), fmt.Sprintf(": %d, ", r.units)) // its limit
		return &app.ExitError{Code: app.ExitFailure, Err: fmt.Errorf("%s: --units %d: %s", r.what(), r.units, why)}
	}
	return app.UnavailableErrorf("%w", app.About(r.what(), err))
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
