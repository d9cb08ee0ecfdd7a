package cli

import (
	"errors"
	"fmt"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/child"
)

// Exit codes that every subcommand shares; 64, 69 and 75 are those of sysexits.h, the others a shell's.
const (
	exitFailure     = 1
	exitUsage       = 64
	exitUnavailable = 69
	exitLost        = 75
	exitCannotRun   = 126
	exitSignal      = 128 // plus the signal's number
)

// ExitError carries the exit code of the process. With a nil Err it ends without a word: the child that a
// command ran has said what there was to say.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit status %d", e.Code)
	}
	return e.Err.Error()
}

func (e *ExitError) Unwrap() error { return e.Err }

func usageErrorf(format string, args ...any) error {
	return &ExitError{Code: exitUsage, Err: fmt.Errorf(format, args...)}
}

func unavailableErrorf(format string, args ...any) error {
	return &ExitError{Code: exitUnavailable, Err: fmt.Errorf(format, args...)}
}

func exitCode(err error) int {
	var exit *ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.Code
	default:
		return exitFailure
	}
}

func startFailed(err error) error {
	code := exitCannotRun
	var start *child.StartError
	if errors.As(err, &start) {
		code = start.Code
	}
	return &ExitError{Code: code, Err: err}
}
