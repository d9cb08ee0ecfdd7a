package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fenceline/fenceline/barrier"

	"github.com/spf13/pflag"
)

// waitFlags is what the command line says about waiting, and about not getting it.
type waitFlags struct {
	try       bool
	wait      seconds
	waitGiven bool // 0 is a time as well
	conflict  int
	skipOK    bool
}

// addTo adds the flags; what is waited for is the name in their help.
func (f *waitFlags) addTo(flags *pflag.FlagSet, what string) {
	flags.VarP(&f.wait, "wait", "w", "wait this many `seconds` at most (2.5, 1m30s); the default is as long as it takes")
	flags.Lookup("wait").DefValue = ""
	flags.IntVarP(&f.conflict, "conflict-exit-code", "E", exitFailure, "exit `code` when "+what)
	flags.BoolVar(&f.skipOK, "skip-ok", false, "exit with 0, and say nothing, when "+what)
}

func (f *waitFlags) check(given func(flag string) bool) error {
	f.waitGiven = given("wait")
	switch {
	case f.try && f.waitGiven:
		return usageErrorf("-n and -w exclude each other: do not wait, or wait %v", f.wait)
	case f.skipOK && given("conflict-exit-code"):
		return usageErrorf("--skip-ok and -E exclude each other: they name different exit codes")
	case f.conflict < 0 || f.conflict > 255:
		return usageErrorf("-E %d: an exit code is between 0 and 255", f.conflict)
	}
	return nil
}

// willNotWait says that it is now or never.
func (f *waitFlags) willNotWait() bool { return f.try || f.waitGiven && f.wait == 0 }

// bound is ctx, for as long as it may wait.
func (f *waitFlags) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if !f.waitGiven || f.wait == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, time.Duration(f.wait), errWaited)
}

// conflicts is the exit of who did not get it.
func (f *waitFlags) conflicts(what, why string) error {
	if f.skipOK {
		return &ExitError{Code: 0}
	}
	return &ExitError{Code: f.conflict, Err: fmt.Errorf("%s: %s", what, why)}
}

// waits waits until something is open, as long as the flags say; isOpen is for those that do not wait, and look says why it is
// not open.
func (f *waitFlags) waits(ctx context.Context, h *holder, what string, wait func(context.Context) error, look look, isOpen func(context.Context) (bool, error)) error {
	ctx, cancel := f.bound(ctx)
	defer cancel()
	began := time.Now()
	if f.willNotWait() {
		open, err := isOpen(ctx)
		if err == nil && !open {
			return f.conflicts(what, because("it is not open", f.why(ctx, look)))
		}
		return opened(what, err)
	}
	spoke, err := h.patiently(ctx, look, wait)
	switch trouble := h.session.Healthy(); {
	case err == nil && spoke:
		h.say("open after %v", time.Since(began).Round(time.Millisecond))
	case !errors.Is(err, errWaited):
	case trouble != nil:
		return unavailableErrorf("%s: not open within %v: %w", what, f.wait, trouble)
	default:
		return f.conflicts(what, because(fmt.Sprintf("not open within %v", f.wait), f.why(ctx, look)))
	}
	return opened(what, err)
}

// why asks why something is not open, unless nobody is told.
func (f *waitFlags) why(ctx context.Context, look look) string {
	if f.skipOK {
		return ""
	}
	return lookNow(context.WithoutCancel(ctx), look)
}

// opened is the exit of err.
func opened(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, barrier.ErrParties):
		return &ExitError{Code: exitFailure, Err: about(what, err)}
	}
	return unavailableErrorf("%w", about(what, err))
}

var errWaited = errors.New("not free in time")
