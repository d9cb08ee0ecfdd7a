package cli

// globals is what the flags before and behind every subcommand say.
type globals struct {
	connection connection
	output     outputFormat
}
