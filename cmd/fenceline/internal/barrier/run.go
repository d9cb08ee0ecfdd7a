package barrier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/fenceline/fenceline/barrier"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/underhold"
	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/session"
)

// barrierRun is one party of one round.
type barrierRun struct {
	*barrierFlags
	*underhold.Holder
	pass *barrier.Pass
}

func runBarrier(ctx context.Context, g *app.Globals, f *barrierFlags, stderr io.Writer) error {
	h, stop, err := underhold.NewHolder(g, &f.Flags, f.what(), stderr)
	if err != nil {
		return app.StartFailed(err)
	}
	defer stop()
	r := &barrierRun{barrierFlags: f, Holder: h}
	return h.Around(ctx, r.enter, r.together, func(context.Context) error { return nil })
}

func (r *barrierRun) enter(ctx context.Context) (err error) {
	if err := r.Open(ctx, &session.Trace{}); err != nil {
		return err
	}
	began := time.Now()
	ctx, cancel := r.Bound(ctx)
	defer cancel()
	var opts []barrier.Option
	if r.breaking {
		opts = append(opts, barrier.WithBreak())
	}
	spoke, err := r.Patiently(ctx, r.look, func(ctx context.Context) (err error) {
		r.pass, err = barrier.New(r.Session, r.name, r.parties, opts...).Enter(ctx)
		return err
	})
	if err != nil {
		return r.refused(ctx, err)
	}
	r.Acquired("all are here", spoke, began)
	return nil
}

// look says how many are here, with us.
func (r *barrierRun) look(ctx context.Context) string {
	f := &app.Named{Namespace: r.Namespace, Kind: app.BarrierKind, Name: r.name}
	l, err := underhold.FrontOf(ctx, r.Client, f)
	if err != nil {
		return ""
	}
	here := 0
	if len(l.Ahead(r.Session.Lease())) == len(l.Entries) { // we have left already
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
	err := r.Ended(r.Run(r.pass, os.Stdin, r.Environment(r.variables()...), r.Interrupts.Signals))
	lost := false
	leave := func(ctx context.Context) error {
		lost = r.GiveBack(ctx, r.pass.Leave)
		return nil
	}
	_ = r.Interrupts.During(context.Background(), leave) // leave returns nil; an interrupt is asked for below
	switch interrupted := r.Interrupts.Exit(); {
	case err != nil:
		return err
	case lost:
		return &app.ExitError{Code: app.ExitLost}
	default:
		return interrupted
	}
}

// refused is the exit that says why there was no round.
func (r *barrierRun) refused(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, underhold.ErrWaited):
		if trouble := r.Session.Healthy(); trouble != nil {
			return app.UnavailableErrorf("%s: %w: %w", r.what(), underhold.ErrWaited, trouble)
		}
		return r.Conflicts(r.what(), underhold.Because(fmt.Sprintf("the round was not full within %v", r.Wait), r.Why(ctx, r.look)))
	case errors.Is(err, barrier.ErrBroken):
		return r.Conflicts(r.what(), "somebody left or died before the round was full")
	case errors.Is(err, barrier.ErrParties):
		return &app.ExitError{Code: app.ExitFailure, Err: fmt.Errorf("--parties %d: %w", r.parties, app.About(r.what(), err))}
	}
	return app.UnavailableErrorf("%w", app.About(r.what(), err))
}

// variables say what round it is.
func (r *barrierRun) variables() []string {
	return []string{"FENCELINE_BARRIER_NAME=" + r.name, "FENCELINE_ROUND=" + strconv.FormatInt(r.pass.Round(), 10)}
}
