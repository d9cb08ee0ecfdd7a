package cli

import (
	"context"
	"fmt"
	"time"

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
