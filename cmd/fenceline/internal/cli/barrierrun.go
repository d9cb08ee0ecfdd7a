package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/fenceline/fenceline/barrier"
	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/session"
)

// barrierRun is one party of one round.
type barrierRun struct {
	*barrierFlags
	*holder
	pass *barrier.Pass
}

func runBarrier(ctx context.Context, g *globals, f *barrierFlags, stderr io.Writer) error {
	h, stop, err := newHolder(g, &f.holdFlags, f.what(), stderr)
	if err != nil {
		return startFailed(err)
	}
	defer stop()
	r := &barrierRun{barrierFlags: f, holder: h}
	return h.around(ctx, r.enter, r.together, func(context.Context) error { return nil })
}

func (r *barrierRun) enter(ctx context.Context) (err error) {
	if err := r.open(ctx, &session.Trace{}); err != nil {
		return err
	}
	began := time.Now()
	ctx, cancel := r.bound(ctx)
	defer cancel()
	var opts []barrier.Option
	if r.breaking {
		opts = append(opts, barrier.WithBreak())
	}
	spoke, err := r.patiently(ctx, r.look, func(ctx context.Context) (err error) {
		r.pass, err = barrier.New(r.session, r.name, r.parties, opts...).Enter(ctx)
		return err
	})
	if err != nil {
		return r.refused(ctx, err)
	}
	r.acquired("all are here", spoke, began)
	return nil
}

// look says how many are here, with us.
func (r *barrierRun) look(ctx context.Context) string {
	f := &named{namespace: r.namespace, kind: barrierKind, name: r.name}
	l, err := frontOf(ctx, r.client, f)
	if err != nil {
		return ""
	}
	here := 0
	if len(l.Ahead(r.session.Lease())) == len(l.Entries) { // we have left already
		here++
	}
	for _, e := range l.Entries {
		if e.State != inspect.Inside { // of a round before
			here++
		}
	}
	return fmt.Sprintf("%d of %d are here", here, r.parties)
}

// together runs the command and leaves with the others, for whom it waits: not within a time, but until a signal.
func (r *barrierRun) together() error {
	err := r.ended(r.run(r.pass, os.Stdin, r.environment(r.variables()...), r.interrupts.signals))
	lost := false
	leave := func(ctx context.Context) error {
		lost = r.giveBack(ctx, r.pass.Leave)
		return nil
	}
	_ = r.interrupts.during(context.Background(), leave) // leave returns nil; an interrupt is asked for below
	switch interrupted := r.interrupts.exit(); {
	case err != nil:
		return err
	case lost:
		return &ExitError{Code: exitLost}
	default:
		return interrupted
	}
}

// refused is the exit that says why there was no round.
func (r *barrierRun) refused(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, errWaited):
		if trouble := r.session.Healthy(); trouble != nil {
			return unavailableErrorf("%s: %w: %w", r.what(), errWaited, trouble)
		}
		return r.conflicts(r.what(), because(fmt.Sprintf("the round was not full within %v", r.wait), r.why(ctx, r.look)))
	case errors.Is(err, barrier.ErrBroken):
		return r.conflicts(r.what(), "somebody left or died before the round was full")
	case errors.Is(err, barrier.ErrParties):
		return &ExitError{Code: exitFailure, Err: fmt.Errorf("--parties %d: %w", r.parties, about(r.what(), err))}
	}
	return unavailableErrorf("%w", about(r.what(), err))
}

// variables say what round it is.
func (r *barrierRun) variables() []string {
	return []string{"FENCELINE_BARRIER_NAME=" + r.name, "FENCELINE_ROUND=" + strconv.FormatInt(r.pass.Round(), 10)}
}
