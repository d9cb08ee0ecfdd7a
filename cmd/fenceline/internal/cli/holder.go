package cli

import (
	"cmp"
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
	"github.com/fenceline/fenceline/internal/since"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

// How long etcd may take to answer that it has everything back. After that it frees it when the lease runs out.
const (
	giveBackWithin     = 5 * time.Second
	giveBackLostWithin = time.Second // a lost lock is given back already, or etcd is away
)

// holder is this process while it holds things for a command, and runs it.
type holder struct {
	flags      *holdFlags
	g          *globals
	path       string // of the command
	say        func(format string, args ...any)
	talks      bool // somebody wants to know what a wait is for
	interrupts interrupts
	owner      string // for whom things are held: what this command runs, and what fenceline commands that runs in turn

	client  *clientv3.Client
	session *session.Session
	lost    bool // the last command ended since the hold was lost
}

// newHolder finds the command before anything waits for it. The caller calls stop.
func newHolder(g *globals, f *holdFlags, what string, stderr io.Writer) (h *holder, stop func(), err error) {
	path, err := child.Find(f.command[0])
	if err != nil {
		return nil, nil, err
	}
	h = &holder{flags: f, g: g, path: path, say: talk(stderr, fmt.Sprintf("fenceline: %s: ", what)), talks: f.verbose || isTerminal(stderr),
		interrupts: interrupts{signals: make(chan os.Signal, 16)}}
	if h.owner = os.Getenv(ownerVariable); h.owner == "" {
		h.owner = since.OwnerOf(since.Owned(context.Background()))
	}
	child.Notify(h.interrupts.signals)
	// A stderr that nobody reads must not end this process, and leave the command without it. Ignored, the signal
	// would be so for the command as well.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	bury := child.BuryOrphans()
	return h, func() { signal.Stop(h.interrupts.signals); bury() }, nil
}

// open connects, and opens the session. Its error is an ExitError.
func (h *holder) open(interruptible context.Context, trace *session.Trace) (err error) {
	if h.client, err = h.g.connect(interruptible); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(interruptible, h.g.connection.commandTimeout)
	defer cancel()
	trace.StateChanged = func(_, to session.State, cause error) {
		switch {
		case to != session.Suspect:
		case cause == nil: // no answer yet
			go h.say("a renewal is overdue")
		default:
			go h.say("a renewal is overdue: %v", cause)
		}
	}
	trace.Asked = func(_, _ string, r session.Request) {
		go h.say("%s asks for it to be given back: %s: sending SIGTERM", r.By, r.Reason)
		select {
		case h.interrupts.signals <- syscall.SIGTERM:
		default: // there are enough
		}
	}
	h.session, err = session.Open(ctx, h.client, session.WithTTL(time.Duration(h.flags.ttl)), session.WithNamespace(h.flags.namespace),
		session.WithName(cmp.Or(h.flags.program, filepath.Base(h.flags.command[0]))), session.WithTrace(trace))
	if err == nil {
		return nil
	}
	if why := h.g.ping(interruptible, h.client); why != nil {
		return why // it says the same, with a hint
	}
	return unavailableErrorf("%w", err)
}

// acquired says how long the wait was, to those who want to know, or were told of it. what is acquired, say.
func (h *holder) acquired(what string, spoke bool, began time.Time) {
	if h.flags.verbose || spoke {
		h.say("%s after %v", what, time.Since(began).Round(time.Millisecond))
	}
}

// whoIs names those who are in the way, for a refusal: as the library's error does, or as etcd has it now. Empty: unknown.
func (h *holder) whoIs(ctx context.Context, err error, look look) string {
	var held *lock.HeldError
	var waited *session.WaitError
	switch {
	case errors.As(err, &held) && held.Holder.Key != "":
		return held.Holder.Describe()
	case errors.As(err, &waited):
		return waited.Holder.Describe()
	}
	return lookNow(context.WithoutCancel(ctx), look)
}

// because adds a reason to what has happened, if there is one.
func because(what, why string) string {
	if why == "" {
		return what
	}
	return what + ": " + why
}

// run runs the command under hold, and passes signals on to it. An error is the *StartError of a command that never ran.
func (h *holder) run(hold child.Hold, stdin *os.File, environment []string, signals <-chan os.Signal) (child.Result, error) {
	command := h.program(h.path, h.flags.command, stdin, environment, h.say)
	result, err := command.Run(hold, signals)
	h.lost = result.Lost != nil
	return result, err
}

// program is a command with what the flags say of all.
func (h *holder) program(path string, args []string, stdin *os.File, environment []string, say func(string, ...any)) child.Command {
	return child.Command{Path: path, Args: args, Env: environment, Stdin: stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		OnLost: child.OnLost(h.flags.onLost), Grace: time.Duration(h.flags.grace), Say: say}
}

// heedsLoss says that a lost hold is the end of the command.
func (h *holder) heedsLoss() bool { return child.OnLost(h.flags.onLost) != child.Ignore }

// ended is the end of a command as an exit.
func (h *holder) ended(result child.Result, err error) error {
	switch {
	case err != nil:
		return startFailed(err)
	case result.Lost != nil && h.heedsLoss():
		return &ExitError{Code: exitLost} // it was said when it happened
	case result.Code != 0:
		return &ExitError{Code: result.Code}
	}
	return nil
}

// giveBack calls release, a lock's Release or a term's Resign. It returns true if the hold turns out to have been lost
// while the command ran, which is news, and the command had to heed it.
func (h *holder) giveBack(ctx context.Context, release func(context.Context) error) (lost bool) {
	err := release(ctx)
	if !errors.Is(err, session.ErrLost) || h.lost {
		return false
	}
	h.say("lost while the command ran: %v", errors.Unwrap(err))
	return h.heedsLoss()
}

// close leaves nothing in etcd.
func (h *holder) close(ctx context.Context) {
	if h.session != nil {
		if err := h.session.Close(ctx); err != nil && !h.lost {
			h.say("%v", err)
		}
	}
	if h.client != nil {
		h.client.Close()
	}
}

// bounded is ctx, for as long as etcd may take to answer that it has everything back.
func (h *holder) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	within := giveBackWithin
	if h.lost {
		within = giveBackLostWithin
	}
	return context.WithTimeout(ctx, within)
}

// around is the life of a process that holds something for a command: acquire, run it, give back. acquire and run
// answer an ExitError. What to release is released whatever came before.
func (h *holder) around(ctx context.Context, acquire func(context.Context) error, run func() error, release func(context.Context) error) error {
	err := h.interrupts.during(ctx, acquire)
	if interrupted := h.interrupts.exit(); interrupted != nil {
		err = interrupted
	} else if err == nil {
		err = run()
	}
	return h.interrupts.during(ctx, func(ctx context.Context) error {
		ctx, cancel := h.bounded(ctx)
		defer cancel()
		defer h.close(ctx)
		if h.giveBack(ctx, release) && err == nil {
			return &ExitError{Code: exitLost}
		}
		return err
	})
}
