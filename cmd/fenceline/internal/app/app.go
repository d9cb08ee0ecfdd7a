// Package app is what all commands share, and knows none of them: the connection (connect.go, credentials.go, environment.go), output (output.go,
// fit.go, redraw.go), exit codes and errors (exit.go, plain.go), arguments, completion, and signals.
//
// stdout is data and stderr is talk, in every command.
package app

// Globals is what the flags before and behind every subcommand say.
type Globals struct {
	Connection Connection
	Output     OutputFormat
}
