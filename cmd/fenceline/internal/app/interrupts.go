package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// Interrupts are the signals of a process while it has no command to pass them on to.
type Interrupts struct {
	Signals chan os.Signal
	Got     syscall.Signal // the first that asked to end; 0 is none
}

// During runs f, whose ctx ends with the first signal that asks to end. A second one ends the process at once.
func (i *Interrupts) During(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	for {
		select {
		case err := <-done:
			return err
		case sig := <-i.Signals:
			switch sig {
			case syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT:
			default:
				continue // not for us
			}
			if i.Got != 0 {
				os.Exit(ExitSignal + int(sig.(syscall.Signal)))
			}
			i.Got = sig.(syscall.Signal)
			cancel(errors.New("interrupted"))
		}
	}
}

// Exit is how the process ends after a signal that came in time, or nil.
func (i *Interrupts) Exit() error {
	if i.Got == 0 {
		return nil
	}
	return &ExitError{Code: ExitSignal + int(i.Got)}
}

// Talk returns a function that writes lines with that prefix to w. It waits for w only for a moment: a reader that has
// stopped must not stop whoever watches a deadline.
func Talk(w io.Writer, prefix string) func(format string, args ...any) {
	var mu sync.Mutex
	return func(format string, args ...any) {
		written := make(chan struct{})
		go func() {
			mu.Lock()
			defer mu.Unlock()
			io.WriteString(w, Fitted(w, prefix+Plain(fmt.Sprintf(format, args...)))+"\n")
			close(written)
		}()
		select {
		case <-written:
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// SignalError is the cause of a context that a signal ended.
type SignalError struct{ syscall.Signal }

func (e *SignalError) Error() string { return "ended by signal: " + e.Signal.String() }

// UntilSignal ends with the first interrupt, hangup or termination; the second one is as deadly as ever.
func UntilSignal(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		defer signal.Stop(signals)
		select {
		case s := <-signals:
			cancel(&SignalError{s.(syscall.Signal)})
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}
