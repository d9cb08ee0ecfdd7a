package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/internal/queue"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

// lockRun is one hold for one command: acquire, run, give back.
type lockRun struct {
	*lockFlags
	*holder

	hold  held
	locks []*lock.Lock // its parts, in the order of the names
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

// acquire returns an ExitError.
func (r *lockRun) acquire(ctx context.Context) error {
	if err := r.open(ctx, r.trace()); err != nil {
		return err
	}
	began := time.Now()
	spoke, err := r.patiently(ctx, r.ahead, r.take)
	if err != nil {
		return r.refused(ctx, err)
	}
	r.acquired("acquired", spoke, began)
	return nil
}

// trace notes, and says, who is ahead.
func (r *lockRun) trace() *session.Trace {
	return &session.Trace{Queued: func(_, name string, ahead int) {
		if ahead == 0 {
			return
		}
		switch {
		case !r.verbose:
		case len(r.names) > 1:
			go r.say("waiting, %d ahead for %q", ahead, name)
		default:
			go r.say("waiting, %d ahead", ahead)
		}
	}}
}

// look says who is in the way of the lock, or of which of several.
func (r *lockRun) look(ctx context.Context) string { return r.lookAs(ctx, inTheWay) }

// ahead says how many are as well.
func (r *lockRun) ahead(ctx context.Context) string { return r.lookAs(ctx, waitingFor) }

func (r *lockRun) lookAs(ctx context.Context, words func(*inspect.Line, clientv3.LeaseID, string) string) string {
	mode := ""
	if r.shared {
		mode = queue.ReadValue
	}
	for _, name := range r.names {
		f := &named{namespace: r.namespace, kind: r.kind(), name: name}
		if r.prefix != "" {
			f = &named{namespace: r.namespace, prefix: r.prefix}
		}
		l, err := frontOf(ctx, r.client, f)
		if err != nil {
			return ""
		}
		text := words(l, r.session.Lease(), mode)
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
	set, trouble := len(r.names) > 1, r.session.Healthy()
	gaveUp, full, held := errors.Is(err, errWaited), errors.Is(err, lock.ErrQueueFull), errors.Is(err, lock.ErrHeld)
	switch {
	case gaveUp && trouble != nil:
		return unavailableErrorf("%s: %w: %w", r.what(), errWaited, trouble)
	case set && held && trouble != nil:
		return unavailableErrorf("%s: %w", r.what(), trouble)
	case !gaveUp && !full && !held:
		return unavailableErrorf("%w", about(r.what(), err))
	case r.skipOK:
		return &ExitError{Code: 0}
	}
	who := ""
	if set {
		who = lookNow(context.WithoutCancel(ctx), r.look)
	} else {
		who = r.whoIs(ctx, err, r.look)
	}
	why := ""
	switch {
	case gaveUp:
		why = because(fmt.Sprintf("not free within %v", r.wait), who)
	case full:
		why = because(fmt.Sprintf("too many are waiting, see --max-waiters %d", r.maxWaiters), who)
	case set:
		why = because("somebody else holds one of them", who)
	default:
		why = cmp.Or(who, "somebody else holds it")
	}
	return &ExitError{Code: r.conflict, Err: fmt.Errorf("%s: %s", r.what(), why)}
}
