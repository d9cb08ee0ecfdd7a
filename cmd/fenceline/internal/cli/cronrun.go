package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/fenceline/fenceline/cron"
	"github.com/fenceline/fenceline/session"
)

// cronRun is this process's share of one job.
type cronRun struct {
	*cronFlags
	*holder
	nothing *os.File // what the command reads

	mu       sync.Mutex
	stopping bool           // no command is to be started any more
	command  chan os.Signal // of the command that runs; nil if none does
}

func runCron(ctx context.Context, g *globals, f *cronFlags, stderr io.Writer) error {
	h, stop, err := newHolder(g, &f.holdFlags, fmt.Sprintf("job %q", f.name), stderr)
	if err != nil {
		return startFailed(err)
	}
	defer stop()
	r := &cronRun{cronFlags: f, holder: h}
	if r.nothing, err = os.Open(os.DevNull); err != nil {
		return err
	}
	defer r.nothing.Close()
	err = r.interrupts.during(ctx, func(ctx context.Context) error { return r.open(ctx, &session.Trace{}) })
	if interrupted := r.interrupts.exit(); interrupted != nil {
		err = interrupted
	}
	if err == nil {
		err = r.schedule(ctx)
	}
	return r.interrupts.during(ctx, func(ctx context.Context) error {
		ctx, cancel := r.bounded(ctx)
		defer cancel()
		r.close(ctx)
		return err
	})
}

// schedule takes part until a signal asks to end, and the command that runs then has ended.
func (r *cronRun) schedule(ctx context.Context) error {
	scheduler := cron.New(r.session)
	if err := scheduler.Add(r.name, r.cronFlags.schedule, r.tick, r.options()...); err != nil {
		return usageErrorf("%w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- scheduler.Run(ctx) }()
	for {
		select {
		case err := <-done:
			if interrupted := r.interrupts.exit(); interrupted != nil {
				return interrupted
			}
			return unavailableErrorf("%w", err)
		case sig := <-r.interrupts.signals:
			if r.pass(sig) {
				cancel()
			}
		}
	}
}

// pass passes a signal on to the command that runs, and answers whether it asks to end. A second one that does, with no
// command to pass it on to, ends the process at once.
func (r *cronRun) pass(sig os.Signal) (end bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.command != nil {
		select {
		case r.command <- sig:
		default: // it has not looked at sixteen others
		}
	}
	switch sig {
	case syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT:
	case syscall.SIGHUP: // as a command takes it, if there is one
		if r.command != nil {
			return false
		}
	default:
		return false
	}
	if r.stopping && r.command == nil {
		os.Exit(exitSignal + int(sig.(syscall.Signal)))
	}
	if !r.stopping {
		r.stopping, r.interrupts.got = true, sig.(syscall.Signal)
	}
	return true
}

// begin and end are when signals have a command to go to.
func (r *cronRun) begin() (signals chan os.Signal, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopping {
		return nil, false
	}
	r.command = make(chan os.Signal, 16)
	return r.command, true
}

func (r *cronRun) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.command = nil
}

// claim is what a run hangs on: its ctx, and the lease that the ctx ends with.
type claim struct {
	ctx     context.Context
	session *session.Session
}

func (c claim) Context() context.Context { return c.ctx }

// Deadline may be that of a later lease: then ctx has ended.
func (c claim) Deadline() time.Time { return c.session.Deadline() }

// tick runs the command once. Its error says that the run has failed.
func (r *cronRun) tick(ctx context.Context, t cron.Tick) error {
	signals, ok := r.begin()
	if !ok {
		return errors.New("interrupted before the command was started")
	}
	defer r.end()
	began := time.Now()
	result, err := r.run(claim{ctx, r.session}, r.nothing, r.environment(
		"FENCELINE_JOB="+t.Job,
		"FENCELINE_SCHEDULED="+t.Scheduled.Format(time.RFC3339),
		fmt.Sprintf("FENCELINE_ATTEMPT=%d", t.Attempt),
		"FENCELINE_TOKEN="+t.Token.String(),
	), signals)
	switch {
	case err != nil:
	case result.Lost != nil && r.heedsLoss():
		return result.Lost // it was said when it happened
	case result.Code > exitSignal:
		err = fmt.Errorf("exit code %d (%v)", result.Code, syscall.Signal(result.Code-exitSignal))
	case result.Code != 0:
		err = fmt.Errorf("exit code %d", result.Code)
	}
	at := t.Scheduled.Format(time.RFC3339)
	switch {
	case err != nil:
		r.say("run of %s, attempt %d, has failed: %v", at, t.Attempt, err)
	case r.verbose:
		r.say("run of %s, attempt %d, took %v", at, t.Attempt, time.Since(began).Round(time.Millisecond))
	}
	return err
}
