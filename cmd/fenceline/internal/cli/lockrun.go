package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/child"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

// How long etcd may take to answer that it has everything back. After that it frees it when the lease runs out.
const (
	giveBackWithin     = 5 * time.Second
	giveBackLostWithin = time.Second // a lost lock is given back already, or etcd is away
)

var errWaited = errors.New("not free in time")

// lockRun is one hold for one command: acquire, run, give back.
type lockRun struct {
	*lockFlags
	g          *globals
	say        func(format string, args ...any)
	interrupts interrupts

	client  *clientv3.Client
	session *session.Session
	behind  context.Context // ends when somebody is ahead
	hold    held
	locks   []*lock.Lock // its parts, in the order of the names
	result  child.Result
}

func runLocked(ctx context.Context, g *globals, f *lockFlags, stderr io.Writer) error {
	path, err := child.Find(f.command[0]) // before anybody waits for it
	if err != nil && !f.dashes && len(f.command) > 1 {
		err = fmt.Errorf("%w; if it is a NAME: behind several NAMEs there must be --", err)
	}
	if err != nil {
		return startFailed(err)
	}
	r := &lockRun{lockFlags: f, g: g, say: talk(stderr, fmt.Sprintf("fenceline: %s: ", f.what())),
		interrupts: interrupts{signals: make(chan os.Signal, 16)}}
	child.Notify(r.interrupts.signals)
	defer signal.Stop(r.interrupts.signals)
	// A stderr that nobody reads must not end this process, and leave the command without it. Ignored, the signal
	// would be so for the command as well.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)

	err = r.interrupts.during(ctx, r.acquire)
	if interrupted := r.interrupts.exit(); interrupted != nil {
		err = interrupted
	} else if err == nil {
		err = r.run(path)
	}
	if lost := r.interrupts.during(ctx, r.giveBack); lost != nil && err == nil {
		err = lost
	}
	return err
}

// acquire answers an ExitError.
func (r *lockRun) acquire(ctx context.Context) (err error) {
	if r.client, err = r.g.connect(ctx); err != nil {
		return err
	}
	if err = r.open(ctx); err != nil {
		return err
	}
	began := time.Now()
	if err := r.take(ctx); err != nil {
		return r.refused(err)
	}
	if r.verbose {
		r.say("acquired after %v", time.Since(began).Round(time.Millisecond))
	}
	return nil
}

func (r *lockRun) open(interruptible context.Context) (err error) {
	ctx, cancel := context.WithTimeout(interruptible, r.g.connection.commandTimeout)
	defer cancel()
	trace := &session.Trace{StateChanged: func(_, to session.State, cause error) {
		switch {
		case to != session.Suspect:
		case cause == nil: // no answer yet
			go r.say("a renewal is overdue")
		default:
			go r.say("a renewal is overdue: %v", cause)
		}
	}}
	var isBehind context.CancelFunc
	r.behind, isBehind = context.WithCancel(context.Background())
	trace.Queued = func(_, name string, ahead int) {
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
	}
	r.session, err = session.Open(ctx, r.client, session.WithTTL(time.Duration(r.ttl)), session.WithNamespace(r.namespace),
		session.WithName(filepath.Base(r.command[0])), session.WithTrace(trace))
	if err == nil {
		return nil
	}
	if why := r.g.ping(interruptible, r.client); why != nil {
		return why // it says the same, with a hint
	}
	return unavailableErrorf("%w", err)
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

// run runs the command and answers its end as an exit.
func (r *lockRun) run(path string) (err error) {
	command := child.Command{Path: path, Args: r.command, Env: r.environment(os.Environ()),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		OnLost: child.OnLost(r.onLost), Grace: time.Duration(r.grace), Say: r.say}
	r.result, err = command.Run(r.hold, r.interrupts.signals)
	switch {
	case err != nil:
		return startFailed(err)
	case r.result.Lost != nil && command.OnLost != child.Ignore:
		return &ExitError{Code: exitLost} // it was said when it happened
	case r.result.Code != 0:
		return &ExitError{Code: r.result.Code}
	}
	return nil
}

// giveBack leaves nothing in etcd. Its error is that of a lock that turns out to have been lost while it was held.
func (r *lockRun) giveBack(ctx context.Context) (lost error) {
	within := giveBackWithin
	if r.result.Lost != nil {
		within = giveBackLostWithin
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if r.hold != nil {
		if err := r.hold.Release(ctx); errors.Is(err, session.ErrLost) && r.result.Lost == nil {
			r.say("lost while the command ran: %v", errors.Unwrap(err))
			if r.onLost != string(child.Ignore) {
				lost = &ExitError{Code: exitLost}
			}
		}
	}
	if r.session != nil {
		if err := r.session.Close(ctx); err != nil && r.result.Lost == nil {
			r.say("%v", err)
		}
	}
	if r.client != nil {
		r.client.Close()
	}
	return lost
}

func startFailed(err error) error {
	code := exitCannotRun
	var start *child.StartError
	if errors.As(err, &start) {
		code = start.Code
	}
	return &ExitError{Code: code, Err: err}
}
