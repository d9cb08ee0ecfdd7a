package lock

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/underhold"
	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/internal/queue"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

// lockRun is one hold for one command: acquire, run, give back.
type lockRun struct {
	*lockFlags
	*underhold.Holder

	hold  held
	locks []*lock.Lock // its parts, in the order of the names
}

func runLocked(ctx context.Context, g *app.Globals, f *lockFlags, stderr io.Writer) error {
	h, stop, err := underhold.NewHolder(g, &f.Flags, f.what(), stderr)
	if err != nil && !f.dashes && len(f.Command) > 1 {
		err = fmt.Errorf("%w; if it is a NAME: behind several NAMEs there must be --", err)
	}
	if err != nil {
		return app.StartFailed(err)
	}
	defer stop()
	r := &lockRun{lockFlags: f, Holder: h}
	err = r.Interrupts.During(ctx, r.acquire)
	if interrupted := r.Interrupts.Exit(); interrupted != nil {
		err = interrupted
	} else if err == nil {
		err = r.Ended(r.Run(r.hold, os.Stdin, r.Environment(r.variables()...), r.Interrupts.Signals))
	}
	return r.Interrupts.During(ctx, func(ctx context.Context) error {
		ctx, cancel := r.Bounded(ctx)
		defer cancel()
		defer r.Close(ctx)
		if r.hold != nil && r.GiveBack(ctx, r.hold.Release) && err == nil {
			return &app.ExitError{Code: app.ExitLost}
		}
		return err
	})
}

// acquire returns an ExitError.
func (r *lockRun) acquire(ctx context.Context) error {
	if err := r.Open(ctx, r.trace()); err != nil {
		return err
	}
	began := time.Now()
	spoke, err := r.Patiently(ctx, r.ahead, r.take)
	if err != nil {
		return r.refused(ctx, err)
	}
	r.Acquired("acquired", spoke, began)
	return nil
}

// trace notes, and says, who is ahead.
func (r *lockRun) trace() *session.Trace {
	return &session.Trace{Queued: func(_, name string, ahead int) {
		if ahead == 0 {
			return
		}
		switch {
		case !r.Verbose:
		case len(r.names) > 1:
			go r.Say("waiting, %d ahead for %q", ahead, name)
		default:
			go r.Say("waiting, %d ahead", ahead)
		}
	}}
}

// look says who is in the way of the lock, or of which of several.
func (r *lockRun) look(ctx context.Context) string { return r.lookAs(ctx, underhold.InTheWay) }

// ahead says how many are as well.
func (r *lockRun) ahead(ctx context.Context) string { return r.lookAs(ctx, underhold.WaitingFor) }

func (r *lockRun) lookAs(ctx context.Context, words func(*inspect.Line, clientv3.LeaseID, string) string) string {
	mode := ""
	if r.shared {
		mode = queue.ReadValue
	}
	for _, name := range r.names {
		f := &app.Named{Namespace: r.Namespace, Kind: r.kind(), Name: name}
		if r.prefix != "" {
			f = &app.Named{Namespace: r.Namespace, Prefix: r.prefix}
		}
		l, err := underhold.FrontOf(ctx, r.Client, f)
		if err != nil {
			return ""
		}
		text := words(l, r.Session.Lease(), mode)
		switch {
		case text == "":
		case len(r.names) > 1:
			return fmt.Sprintf("%q: %s", name, text)
		default:
			return text
		}
	}
	return ""
}

// refused is the exit that says why the lock was not to be had.
func (r *lockRun) refused(ctx context.Context, err error) error {
	set, trouble := len(r.names) > 1, r.Session.Healthy()
	gaveUp, full, held := errors.Is(err, underhold.ErrWaited), errors.Is(err, lock.ErrQueueFull), errors.Is(err, lock.ErrHeld)
	switch {
	case gaveUp && trouble != nil:
		return app.UnavailableErrorf("%s: %w: %w", r.what(), underhold.ErrWaited, trouble)
	case set && held && trouble != nil:
		return app.UnavailableErrorf("%s: %w", r.what(), trouble)
	case !gaveUp && !full && !held:
		return app.UnavailableErrorf("%w", app.About(r.what(), err))
	case r.skipOK:
		return &app.ExitError{Code: 0}
	}
	who := ""
	if set {
		who = underhold.LookNow(context.WithoutCancel(ctx), r.look)
	} else {
		who = r.WhoIs(ctx, err, r.look)
	}
	why := ""
	switch {
	case gaveUp:
		why = underhold.Because(fmt.Sprintf("not free within %v", r.wait), who)
	case full:
		why = underhold.Because(fmt.Sprintf("too many are waiting, see --max-waiters %d", r.maxWaiters), who)
	case set:
		why = underhold.Because("somebody else holds one of them", who)
	default:
		why = cmp.Or(who, "somebody else holds it")
	}
	return &app.ExitError{Code: r.conflict, Err: fmt.Errorf("%s: %s", r.what(), why)}
}
