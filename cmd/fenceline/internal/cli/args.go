package cli

import (
	"github.com/spf13/cobra"

	"github.com/fenceline/fenceline/internal/keyspace"
)

// takes is a rule for arguments that names those which are missing. None stands behind --, where a command would.
func takes(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case cmd.ArgsLenAtDash() >= 0:
			return usageErrorf("%s runs no COMMAND: -- has no place here", cmd.CommandPath())
		case len(args) < len(names):
			return usageErrorf("%s is missing", names[len(args)])
		case len(args) > len(names):
			return usageErrorf("%q: one argument too many", args[len(names)])
		}
		return nil
	}
}

func checkNamed(kind, name, namespace string) error {
	if err := keyspace.CheckName(kind, name); err != nil {
		return usageErrorf("%w", err)
	}
	if namespace == "" {
		return usageErrorf("--namespace: it is empty")
	}
	return nil
}

// checkPrefix says why a raw prefix cannot be used.
func checkPrefix(given bool, prefix string) error {
	if !given {
		return nil
	}
	if err := keyspace.CheckName("--prefix", prefix); err != nil {
		return usageErrorf("%w", err)
	}
	return nil
}
