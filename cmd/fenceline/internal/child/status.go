package child

import (
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
)

// StartError says that the command could not be started, and with which code a shell would say so: 127 when it was
// not found, 126 when it cannot be run.
type StartError struct {
	Code int
	Err  error
}

func (e *StartError) Error() string { return e.Err.Error() }
func (e *StartError) Unwrap() error { return e.Err }

// NotStarted is the StartError of a command that could not be.
func NotStarted(name string, err error) error { return startError(name, err) }

func startError(name string, err error) error {
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner // without the name, which is said already
	}
	code := 126
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		code = 127
	}
	return &StartError{Code: code, Err: fmt.Errorf("cannot run %q: %w", name, err)}
}

// Find is where the command name is, by PATH unless it has a slash. An error is a *StartError.
func Find(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil && !errors.Is(err, exec.ErrDot) { // the user's PATH, and so the user's word
		return "", startError(name, err)
	}
	return path, nil
}
