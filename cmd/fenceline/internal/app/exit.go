package app

import (
	"errors"
	"fmt"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/child"
)

// Exit codes that every subcommand shares; 64, 69 and 75 are those of sysexits.h, the others a shell's.
const (
	ExitFailure     = 1
	ExitUsage       = 64
	ExitUnavailable = 69
	ExitLost        = 75
	exitCannotRun   = 126
	ExitSignal      = 128 // plus the signal's number
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

func UsageErrorf(format string, args ...any) error {
	return &ExitError{Code: ExitUsage, Err: fmt.Errorf(format, args...)}
}

func UnavailableErrorf(format string, args ...any) error {
	return &ExitError{Code: ExitUnavailable, Err: fmt.Errorf(format, args...)}
}

func ExitCode(err error) int {
	var exit *ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.Code
	default:
		return ExitFailure
	}
}

func StartFailed(err error) error {
	code := exitCannotRun
	var start *child.StartError
	if errors.As(err, &start) {
		code = start.Code
	}
	return &ExitError{Code: code, Err: err}
}
