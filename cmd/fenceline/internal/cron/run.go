package cron

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/child"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/underhold"
	"github.com/fenceline/fenceline/cron"
	"github.com/fenceline/fenceline/session"
)

// cronRun is this process's share of its jobs.
type cronRun struct {
	*cronFlags
	*underhold.Holder
	nothing *os.File // what the command reads

	broken chan error // what etcd has of the only job cannot be read

	mu       sync.Mutex
	stopping bool                        // no command is to be started any more
	commands map[chan os.Signal]struct{} // of those that run, where their signals go
}

func runCron(ctx context.Context, g *app.Globals, f *cronFlags, stderr io.Writer) error {
	what := "cron"
	if len(f.jobs) == 1 {
		what = fmt.Sprintf("job %q", f.jobs[0].Name)
	}
	h, stop, err := underhold.NewHolder(g, &f.Flags, what, stderr)
	if err != nil {
		return app.StartFailed(err)
	}
	defer stop()
	r := &cronRun{cronFlags: f, Holder: h, broken: make(chan error, 1), commands: map[chan os.Signal]struct{}{}}
	for _, j := range f.jobs {
		if j.path, err = child.Find(j.Command[0]); err != nil {
			return app.StartFailed(err)
		}
	}
	if r.nothing, err = os.Open(os.DevNull); err != nil {
		return err
	}
	defer r.nothing.Close()
	err = r.Interrupts.During(ctx, func(ctx context.Context) error { return r.Open(ctx, r.trace()) })
	if interrupted := r.Interrupts.Exit(); interrupted != nil {
		err = interrupted
	}
	if err == nil {
		err = r.schedule(ctx)
	}
	return r.Interrupts.During(ctx, func(ctx context.Context) error {
		ctx, cancel := r.Bounded(ctx)
		defer cancel()
		r.Close(ctx)
		return err
	})
}

// trace says what is not to be overlooked.
func (r *cronRun) trace() *session.Trace {
	return &session.Trace{
		Missed: func(_, job string, ticks int) {
			r.sayOf(job)("ticks that were missed: %d", ticks)
		},
		Stalled: func(_, job string, why error) {
			switch {
			case why == nil:
				r.sayOf(job)("it is run here again")
			case len(r.jobs) == 1 && errors.Is(why, cron.ErrUnreadable):
				select {
				case r.broken <- why:
				default:
				}
			default:
				r.sayOf(job)("it is not run here: %v", why)
			}
		},
	}
}

// sayOf says something of a job.
func (r *cronRun) sayOf(job string) func(string, ...any) {
	if len(r.jobs) == 1 {
		return r.Say
	}
	return func(format string, args ...any) { r.Say("job %q: %s", job, fmt.Sprintf(format, args...)) }
}

// schedule takes part until a signal asks to end, and the command that runs then has ended.
func (r *cronRun) schedule(ctx context.Context) error {
	scheduler := cron.New(r.Session, cron.WithMaxRunning(r.most))
	for _, j := range r.jobs {
		tick := func(ctx context.Context, t cron.Tick) error { return r.tick(ctx, j, t) }
		if err := scheduler.Add(j.Name, j.Schedule, tick, j.options()...); err != nil {
			return app.UsageErrorf("%w", err)
		}
		if r.Talks {
			r.sayOf(j.Name)("waiting for the ticks of %q, %s", j.Schedule, j.location)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- scheduler.Run(ctx) }()
	for {
		select {
		case err := <-done:
			if interrupted := r.Interrupts.Exit(); interrupted != nil {
				return interrupted
			}
			return app.UnavailableErrorf("%w", err)
		case err := <-r.broken:
			cancel()
			<-done
			return app.UnavailableErrorf("%w", err)
		case sig := <-r.Interrupts.Signals:
			if r.pass(sig) {
				cancel()
			}
		}
	}
}

// pass passes a signal on to the commands that run, and returns whether it asks to end. A second one that does, with no
// command to pass it on to, ends the process at once.
func (r *cronRun) pass(sig os.Signal) (end bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for command := range r.commands {
		select {
		case command <- sig:
		default: // it has not looked at sixteen others
		}
	}
	switch sig {
	case syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT:
	case syscall.SIGHUP: // as a command takes it, if there is one
		if len(r.commands) > 0 {
			return false
		}
	default:
		return false
	}
	if r.stopping && len(r.commands) == 0 {
		os.Exit(app.ExitSignal + int(sig.(syscall.Signal)))
	}
	if !r.stopping {
		r.stopping, r.Interrupts.Got = true, sig.(syscall.Signal)
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
	signals = make(chan os.Signal, 16)
	r.commands[signals] = struct{}{}
	return signals, true
}

func (r *cronRun) end(signals chan os.Signal, lost bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.commands, signals)
	r.Lost = lost
}

// tick runs the command of a job once. Its error says that the run has failed.
func (r *cronRun) tick(ctx context.Context, j *cronJob, t cron.Tick) error {
	say := r.sayOf(j.Name)
	signals, ok := r.begin()
	if !ok {
		return errors.New("interrupted before the command was started")
	}
	began := time.Now()
	environment := r.Environment(
		"FENCELINE_JOB="+t.Job,
		"FENCELINE_SCHEDULED="+t.Scheduled.Format(time.RFC3339),
		fmt.Sprintf("FENCELINE_ATTEMPT=%d", t.Attempt),
		"FENCELINE_TOKEN="+t.Token.String(),
	)
	command := r.Program(j.path, j.Command, r.nothing, environment, say)
	result, err := r.RunProgram(&command, t, signals)
	r.end(signals, result.Lost != nil && !errors.Is(result.Lost, cron.ErrTimeout))
	switch {
	case err != nil:
	case result.Lost != nil && r.HeedsLoss():
		return result.Lost // it was said when it happened
	case result.Code > app.ExitSignal:
		err = fmt.Errorf("exit code %d (%v)", result.Code, syscall.Signal(result.Code-app.ExitSignal))
	case result.Code != 0:
		err = fmt.Errorf("exit code %d", result.Code)
	}
	at := t.Scheduled.Format(time.RFC3339)
	switch {
	case err != nil:
		say("run of %s, attempt %d, has failed: %v", at, t.Attempt, err)
	case r.Verbose:
		say("run of %s, attempt %d, took %v", at, t.Attempt, time.Since(began).Round(time.Millisecond))
	}
	return err
}
