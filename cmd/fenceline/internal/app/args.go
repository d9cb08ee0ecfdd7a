package app

import (
	"github.com/spf13/cobra"

	"github.com/fenceline/fenceline/internal/keyspace"
)

// Takes is a rule for arguments that names those which are missing. None stands behind --, where a command would.
func Takes(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case cmd.ArgsLenAtDash() >= 0:
			return UsageErrorf("%s runs no COMMAND: -- has no place here", cmd.CommandPath())
		case len(args) < len(names):
			return UsageErrorf("%s is missing", names[len(args)])
		case len(args) > len(names):
			return UsageErrorf("%q: one argument too many", args[len(names)])
		}
		return nil
	}
}

func CheckNamed(kind, name, namespace string) error {
	if err := keyspace.CheckName(kind, name); err != nil {
		return UsageErrorf("%w", err)
	}
	if namespace == "" {
		return UsageErrorf("--namespace: it is empty")
	}
	return nil
}

// CheckPrefix says why a raw prefix cannot be used.
func CheckPrefix(given bool, prefix string) error {
	if !given {
		return nil
	}
	if err := keyspace.CheckName("--prefix", prefix); err != nil {
		return UsageErrorf("%w", err)
	}
	return nil
}
