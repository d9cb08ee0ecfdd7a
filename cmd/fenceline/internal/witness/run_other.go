//go:build !linux

package witness

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
)

// NewCommand is "fenceline witness", which this system cannot be.
func NewCommand(*app.Globals) *cobra.Command {
	return &cobra.Command{Use: "witness [flags] -- COMMAND [ARG...]", Short: "Run a command, and give back at once what it held if it dies (Linux only)",
		RunE: func(*cobra.Command, []string) error {
			return &app.ExitError{Code: app.ExitFailure, Err: errors.New("this system has no pidfd, so nobody can prove that a process is dead")}
		}}
}
