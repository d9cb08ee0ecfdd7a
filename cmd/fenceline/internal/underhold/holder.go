// Package underhold runs a command while this process holds something for it: find the command, open a session, wait and say for what, run it with
// what it is told of its hold, end it before the hold is lost, give back. The nouns differ in what is held only.
package underhold

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/child"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/since"
	"github.com/fenceline/fenceline/internal/witness"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

// How long etcd may take to answer that it has everything back. After that it frees it when the lease runs out.
const (
	giveBackWithin     = 5 * time.Second
	giveBackLostWithin = time.Second // a lost lock is given back already, or etcd is away
)

// Holder is this process while it holds things for a command, and runs it.
type Holder struct {
	Flags      *Flags
	G          *app.Globals
	Path       string // of the command
	Say        func(format string, args ...any)
	Talks      bool // somebody wants to know what a wait is for
	Interrupts app.Interrupts
	owner      string // for whom things are held: what this command runs, and what fenceline commands that runs in turn

	Client  *clientv3.Client
	Session *session.Session
	Lost    bool // the last command ended since the hold was lost

	counting sync.Mutex
	children int // commands that run, or may
}

// count has the page say so many commands more, in the order of the calls.
func (h *Holder) count(t *witness.Teller, more int) error {
	h.counting.Lock()
	defer h.counting.Unlock()
	h.children += more
	return t.Page().Children(h.children)
}

// NewHolder finds the command before anything waits for it. The caller calls stop.
func NewHolder(g *app.Globals, f *Flags, what string, stderr io.Writer) (h *Holder, stop func(), err error) {
	path, err := child.Find(f.Command[0])
	if err != nil {
		return nil, nil, err
	}
	h = &Holder{Flags: f, G: g, Path: path, Say: app.Talk(stderr, fmt.Sprintf("fenceline: %s: ", what)), Talks: f.Verbose || app.IsTerminal(stderr),
		Interrupts: app.Interrupts{Signals: make(chan os.Signal, 16)}}
	if h.owner = os.Getenv(ownerVariable); h.owner == "" {
		h.owner = since.OwnerOf(since.Owned(context.Background()))
	}
	child.Notify(h.Interrupts.Signals)
	// A stderr that nobody reads must not end this process, and leave the command without it. Ignored, the signal
	// would be so for the command as well.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	bury := child.BuryOrphans()
	return h, func() { signal.Stop(h.Interrupts.Signals); bury() }, nil
}

// Open connects, and opens the session. Its error is an ExitError.
func (h *Holder) Open(interruptible context.Context, trace *session.Trace) (err error) {
	if h.Client, err = h.G.Connect(interruptible); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(interruptible, h.G.Connection.CommandTimeout)
	defer cancel()
	trace.StateChanged = func(_, to session.State, cause error) {
		switch {
		case to != session.Suspect:
		case cause == nil: // no answer yet
			go h.Say("a renewal is overdue")
		default:
			go h.Say("a renewal is overdue: %v", cause)
		}
	}
	trace.Asked = func(_, _ string, r session.Request) {
		go h.Say("%s asks for it to be given back: %s: sending SIGTERM", r.By, r.Reason)
		select {
		case h.Interrupts.Signals <- syscall.SIGTERM:
		default: // there are enough
		}
	}
	h.Session, err = session.Open(ctx, h.Client, session.WithTTL(time.Duration(h.Flags.Ttl)), session.WithNamespace(h.Flags.Namespace),
		session.WithName(cmp.Or(h.Flags.Program, filepath.Base(h.Flags.Command[0]))), session.WithTrace(trace))
	if err == nil {
		return nil
	}
	if why := h.G.Ping(interruptible, h.Client); why != nil {
		return why // it says the same, with a hint
	}
	return app.UnavailableErrorf("%w", err)
}

// Acquired says how long the wait was, to those who want to know, or were told of it. what is acquired, say.
func (h *Holder) Acquired(what string, spoke bool, began time.Time) {
	if h.Flags.Verbose || spoke {
		h.Say("%s after %v", what, time.Since(began).Round(time.Millisecond))
	}
}

// WhoIs names those who are in the way, for a refusal: as the library's error does, or as etcd has it now. Empty: unknown.
func (h *Holder) WhoIs(ctx context.Context, err error, look look) string {
	var held *lock.HeldError
	var waited *session.WaitError
	switch {
	case errors.As(err, &held) && held.Holder.Key != "":
		return held.Holder.Describe()
	case errors.As(err, &waited):
		return waited.Holder.Describe()
	}
	return LookNow(context.WithoutCancel(ctx), look)
}

// Because adds a reason to what has happened, if there is one.
func Because(what, why string) string {
	if why == "" {
		return what
	}
	return what + ": " + why
}

// Run runs the command under hold, and passes signals on to it. An error is the *StartError of a command that never ran.
func (h *Holder) Run(hold child.Hold, stdin *os.File, environment []string, signals <-chan os.Signal) (child.Result, error) {
	command := h.Program(h.Path, h.Flags.Command, stdin, environment, h.Say)
	result, err := h.RunProgram(&command, hold, signals)
	h.Lost = result.Lost != nil
	return result, err
}

// RunProgram runs a command, and keeps a witness from taking it for dead with this process: while it runs, and if it may run on.
func (h *Holder) RunProgram(command *child.Command, hold child.Hold, signals <-chan os.Signal) (child.Result, error) {
	t, watched := keeper.Of(h.Session).Witness.(*witness.Teller)
	if !watched {
		return command.Run(hold, signals)
	}
	if err := h.count(t, 1); err != nil {
		h.Say("the witness cannot be told that a command runs: %v", err)
		return child.Result{}, child.NotStarted(command.Args[0], err)
	}
	group := 0
	if command.OnLost == child.Kill { // else it may go on without the hold, and the witness must not end it: then the TTL decides
		command.Started = func(g int) {
			group = g
			_ = t.Group(g, false) // where that fails the TTL decides, too
		}
	}
	result, err := command.Run(hold, signals)
	if err != nil || command.OnLost == child.Kill { // nothing of it runs any more
		if group == 0 || t.Group(group, true) == nil { // else it goes on to count, and the TTL decides
			_ = h.count(t, -1) // the same
		}
	}
	return result, err
}

// Program is a command with what the flags say of all.
func (h *Holder) Program(path string, args []string, stdin *os.File, environment []string, say func(string, ...any)) child.Command {
	return child.Command{Path: path, Args: args, Env: environment, Stdin: stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		OnLost: child.OnLost(h.Flags.OnLost), Grace: time.Duration(h.Flags.Grace), Say: say}
}

// HeedsLoss says that a lost hold is the end of the command.
func (h *Holder) HeedsLoss() bool { return child.OnLost(h.Flags.OnLost) != child.Ignore }

// Ended is the end of a command as an exit.
func (h *Holder) Ended(result child.Result, err error) error {
	switch {
	case err != nil:
		return app.StartFailed(err)
	case result.Lost != nil && h.HeedsLoss():
		return &app.ExitError{Code: app.ExitLost} // it was said when it happened
	case result.Code != 0:
		return &app.ExitError{Code: result.Code}
	}
	return nil
}

// GiveBack calls release, a lock's Release or a term's Resign. It returns true if the hold turns out to have been lost
// while the command ran, which is news, and the command had to heed it.
func (h *Holder) GiveBack(ctx context.Context, release func(context.Context) error) (lost bool) {
	err := release(ctx)
	if !errors.Is(err, session.ErrLost) || h.Lost {
		return false
	}
	h.Say("lost while the command ran: %v", errors.Unwrap(err))
	return h.HeedsLoss()
}

// Close leaves nothing in etcd.
func (h *Holder) Close(ctx context.Context) {
	if h.Session != nil {
		if err := h.Session.Close(ctx); err != nil && !h.Lost {
			h.Say("%v", err)
		}
	}
	if h.Client != nil {
		h.Client.Close()
	}
}

// Bounded is ctx, for as long as etcd may take to answer that it has everything back.
func (h *Holder) Bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	within := giveBackWithin
	if h.Lost {
		within = giveBackLostWithin
	}
	return context.WithTimeout(ctx, within)
}

// Around is the life of a process that holds something for a command: acquire, run it, give back. acquire and run
// answer an ExitError. What to release is released whatever came before.
func (h *Holder) Around(ctx context.Context, acquire func(context.Context) error, run func() error, release func(context.Context) error) error {
	err := h.Interrupts.During(ctx, acquire)
	if interrupted := h.Interrupts.Exit(); interrupted != nil {
		err = interrupted
	} else if err == nil {
		err = run()
	}
	return h.Interrupts.During(ctx, func(ctx context.Context) error {
		ctx, cancel := h.Bounded(ctx)
		defer cancel()
		defer h.Close(ctx)
		if h.GiveBack(ctx, release) && err == nil {
			return &app.ExitError{Code: app.ExitLost}
		}
		return err
	})
}
