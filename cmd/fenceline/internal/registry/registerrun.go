package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/child"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/underhold"
	"github.com/fenceline/fenceline/registry"
	"github.com/fenceline/fenceline/session"
)

// registerRun is one instance, and perhaps the command that is it.
type registerRun struct {
	*registerFlags
	*underhold.Holder
	registration *registry.Registration

	mu       sync.Mutex // one change of the status at a time
	draining bool       // from here on it is not up again
}

func runRegister(ctx context.Context, g *app.Globals, f *registerFlags, stderr io.Writer) error {
	if len(f.Command) == 0 {
		h := &underhold.Holder{Flags: &f.Flags, G: g, Say: app.Talk(stderr, fmt.Sprintf("fenceline: %s: ", f.what())),
			Talks: f.Verbose || app.IsTerminal(stderr), Interrupts: app.Interrupts{Signals: make(chan os.Signal, 16)}}
		child.Notify(h.Interrupts.Signals)
		defer signal.Stop(h.Interrupts.Signals)
		f.Command = []string{"fenceline register " + f.service} // how the session is called
		r := &registerRun{registerFlags: f, Holder: h}
		return h.Around(ctx, r.acquire, func() error { return r.stay(ctx) }, r.release)
	}
	h, stop, err := underhold.NewHolder(g, &f.Flags, f.what(), stderr)
	if err != nil {
		return app.StartFailed(err)
	}
	defer stop()
	r := &registerRun{registerFlags: f, Holder: h}
	return h.Around(ctx, r.acquire, func() error { return r.runCommand(ctx) }, r.release)
}

func (r *registerRun) acquire(ctx context.Context) error {
	if err := r.Open(ctx, &session.Trace{Lost: func(_, name string, cause error) {
		go r.Say("lost the registration of %s, registering again: %v", name, cause)
	}}); err != nil {
		return err
	}
	in := r.instance
	if r.waitOpen {
		in.Status = registry.Starting
	}
	answer := func(context.Context) string { return fmt.Sprintf("is %q free in etcd?", cmp.Or(in.ID, in.Addr)) }
	_, err := r.Patiently(ctx, answer, func(ctx context.Context) (err error) {
		r.registration, err = registry.Register(ctx, r.Session, r.service, in, registry.WithPrefix(r.prefix))
		return err
	})
	switch {
	case errors.Is(err, registry.ErrDuplicate):
		return &app.ExitError{Code: app.ExitFailure, Err: app.About(r.what(), err)}
	case err != nil:
		return app.UnavailableErrorf("%w", app.About(r.what(), err))
	}
	if r.Talks {
		r.Say("registered at %s", r.instance.Addr)
	}
	return nil
}

func (r *registerRun) release(ctx context.Context) error {
	if r.registration == nil {
		return nil
	}
	return r.registration.Deregister(ctx)
}

// stay waits to be interrupted.
func (r *registerRun) stay(ctx context.Context) error {
	err := r.Interrupts.During(ctx, func(ctx context.Context) error {
		r.openUp(ctx)
		<-ctx.Done()
		return nil
	})
	r.Interrupts.Got = 0 // that was no interruption, but what was waited for
	return err
}

// runCommand runs it, and keeps signals that ask it to end until it is known that it drains.
func (r *registerRun) runCommand(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	opening, stop := context.WithCancel(ctx)
	defer stop()
	go r.openUp(opening)
	signals := make(chan os.Signal, 16)
	go r.passOn(ctx, stop, signals)
	env := r.Environment("FENCELINE_SERVICE="+r.service, "FENCELINE_INSTANCE_ID="+r.registration.ID(), "FENCELINE_ADDR="+r.instance.Addr)
	command := r.Program(r.Path, r.Command, os.Stdin, env, r.Say)
	command.Leash = true // else it keeps the port, and nobody finds it
	return r.Ended(r.RunProgram(&command, unlosable{}, signals))
}

// passOn hands signals to the command; those that ask it to end, after the time for draining. A second one does not wait.
func (r *registerRun) passOn(ctx context.Context, stopOpening func(), to chan<- os.Signal) {
	draining := false
	for {
		select {
		case <-ctx.Done():
			return
		case sig := <-r.Interrupts.Signals:
			asks := sig == syscall.SIGINT || sig == syscall.SIGTERM
			if r.drain == 0 || !asks || draining {
				to <- sig
				continue
			}
			draining = true
			go func() {
				began := time.Now()
				stopOpening()
				r.startDraining(ctx)
				select {
				case <-time.After(time.Duration(r.drain) - time.Since(began)):
					to <- sig
				case <-ctx.Done():
				}
			}()
		}
	}
}

func (r *registerRun) startDraining(ctx context.Context) {
	in := r.instance
	in.Status = registry.Draining
	ctx, cancel := context.WithTimeout(ctx, time.Duration(r.drain))
	defer cancel()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.draining = true
	if err := r.registration.Update(ctx, in); err != nil {
		r.Say("not marked as draining: %v", err)
	}
}

// openUp has the instance up once its address accepts connections.
func (r *registerRun) openUp(ctx context.Context) {
	if !r.waitOpen {
		return
	}
	const every = 200 * time.Millisecond
	began, spoke := time.Now(), false
	for ctx.Err() == nil {
		if conn, err := net.DialTimeout("tcp", r.instance.Addr, time.Second); err == nil {
			conn.Close()
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.draining || ctx.Err() != nil {
				return
			}
			if err := r.registration.Update(ctx, r.instance); err != nil && ctx.Err() == nil {
				r.Say("not marked as up: %v", err)
			} else if r.Talks {
				r.Say("%s accepts connections", r.instance.Addr)
			}
			return
		} else if r.Talks && !spoke && time.Since(began) > underhold.WaitSaidAfter {
			r.Say("waiting: %v", err)
			spoke = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(every):
		}
	}
}

// unlosable is the hold of a command that does not end with anything.
type unlosable struct{}

func (unlosable) Context() context.Context { return context.Background() }
func (unlosable) Deadline() time.Time      { return time.Now().Add(time.Hour) }
