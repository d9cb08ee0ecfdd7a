package underhold

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/fenceline/fenceline/barrier"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
)

// WaitFlags is what the command line says about waiting, and about not getting it.
type WaitFlags struct {
	Try       bool
	Wait      app.Seconds
	waitGiven bool // 0 is a time as well
	conflict  int
	skipOK    bool
}

// AddTo adds the flags; what is waited for is the name in their help.
func (f *WaitFlags) AddTo(flags *pflag.FlagSet, what string) {
	flags.VarP(&f.Wait, "wait", "w", "wait this many `seconds` at most (2.5, 1m30s); the default is as long as it takes")
	flags.Lookup("wait").DefValue = ""
	flags.IntVarP(&f.conflict, "conflict-exit-code", "E", app.ExitFailure, "exit `code` when "+what)
	flags.BoolVar(&f.skipOK, "skip-ok", false, "exit with 0, and say nothing, when "+what)
}

func (f *WaitFlags) Check(given func(flag string) bool) error {
	f.waitGiven = given("wait")
	switch {
	case f.Try && f.waitGiven:
		return app.UsageErrorf("-n and -w exclude each other: do not wait, or wait %v", f.Wait)
	case f.skipOK && given("conflict-exit-code"):
		return app.UsageErrorf("--skip-ok and -E exclude each other: they name different exit codes")
	case f.conflict < 0 || f.conflict > 255:
		return app.UsageErrorf("-E %d: an exit code is between 0 and 255", f.conflict)
	}
	return nil
}

// WillNotWait says that it is now or never.
func (f *WaitFlags) WillNotWait() bool { return f.Try || f.waitGiven && f.Wait == 0 }

// Bound is ctx, for as long as it may wait.
func (f *WaitFlags) Bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if !f.waitGiven || f.Wait == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, time.Duration(f.Wait), ErrWaited)
}

// Conflicts is the exit of who did not get it.
func (f *WaitFlags) Conflicts(what, why string) error {
	if f.skipOK {
		return &app.ExitError{Code: 0}
	}
	return &app.ExitError{Code: f.conflict, Err: fmt.Errorf("%s: %s", what, why)}
}

// Waits waits until something is open, as long as the flags say; isOpen is for those that do not wait, and look says why it is
// not open.
func (f *WaitFlags) Waits(ctx context.Context, h *Holder, what string, wait func(context.Context) error, look look, isOpen func(context.Context) (bool, error)) error {
	ctx, cancel := f.Bound(ctx)
	defer cancel()
	began := time.Now()
	if f.WillNotWait() {
		open, err := isOpen(ctx)
		if err == nil && !open {
			return f.Conflicts(what, Because("it is not open", f.Why(ctx, look)))
		}
		return Opened(what, err)
	}
	spoke, err := h.Patiently(ctx, look, wait)
	switch trouble := h.Session.Healthy(); {
	case err == nil && spoke:
		h.Say("open after %v", time.Since(began).Round(time.Millisecond))
	case !errors.Is(err, ErrWaited):
	case trouble != nil:
		return app.UnavailableErrorf("%s: not open within %v: %w", what, f.Wait, trouble)
	default:
		return f.Conflicts(what, Because(fmt.Sprintf("not open within %v", f.Wait), f.Why(ctx, look)))
	}
	return Opened(what, err)
}

// Why asks why something is not open, unless nobody is told.
func (f *WaitFlags) Why(ctx context.Context, look look) string {
	if f.skipOK {
		return ""
	}
	return LookNow(context.WithoutCancel(ctx), look)
}

// Opened is the exit of err.
func Opened(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, barrier.ErrParties):
		return &app.ExitError{Code: app.ExitFailure, Err: app.About(what, err)}
	}
	return app.UnavailableErrorf("%w", app.About(what, err))
}

var ErrWaited = errors.New("not free in time")
