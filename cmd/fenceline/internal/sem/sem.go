// Package sem is "fenceline sem" and its verbs.
package sem

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/underhold"
	"github.com/fenceline/fenceline/internal/keyspace"
)

// semFlags is what the command line says about one permit and one command.
type semFlags struct {
	underhold.Flags
	underhold.WaitFlags
	name         string
	limit, units int64 // limit 0: the stored one
}

const semHelp = `Run a command while holding units of a semaphore: in all of the cluster, commands of one NAME hold at most --limit
units at once. First come, first served: who wants many is not overtaken by those who want few.

Whoever comes first stores the limit with the NAME. Later ones must mean the same limit, or leave --limit out and take
the stored one.

The command is run as "fenceline lock" does it: directly, with this one's input and output, in a process group of its
own; signals are passed on to it. The units are given back when the command has ended, and what it left running has
ended too. If they can no longer be renewed, the command gets SIGTERM, and is dead before etcd can give them to
anybody else; see "fenceline lock --help". Permits have no fencing token: they stand side by side, and none is the newest.

Environment of the command:
  FENCELINE_SEMAPHORE_NAME  NAME
  FENCELINE_UNITS           how many units it holds
  FENCELINE_ENDPOINTS       etcd's endpoints

Exit codes:
  0-255     the command's own
  128+N     signal N killed the command
  126, 127  the command cannot be run, is not found
  1         the units were not to be had: not free (-n), not free in time (-w), see -E, --skip-ok; or, whatever those
            say: another limit is stored, or none, or there are more --units than that
  64        wrong command line
  69        etcd cannot be reached, or refuses
  75        the units were lost while the command ran, and the command was ended
  130, 143  interrupted while waiting by SIGINT, SIGTERM; nothing is left behind`

func NewCommand(g *app.Globals) *cobra.Command {
	f := &semFlags{}
	cmd := &cobra.Command{
		Use:                   "sem [flags] NAME [flags] [--] COMMAND [ARG...]",
		DisableFlagsInUseLine: true,
		Short:                 "Run a command while holding units of a semaphore",
		Long:                  semHelp,
		Example: `  fenceline sem encoders --limit 4 -- ./encode film.mov
  fenceline sem encoders --units 2 -w 1m -- ./encode --threads 2 film.mov    # of whatever limit is stored
  fenceline sem status encoders
  fenceline sem resize encoders 6`,
		ValidArgsFunction: app.CompleteName(g, &f.Namespace, func() string { return app.SemaphoreKind }, cobra.ShellCompDirectiveDefault),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.parse(cmd.Flags(), args); err != nil {
				return err
			}
			return runSem(cmd.Context(), g, f, cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	f.Flags.AddTo(flags, "units")
	f.WaitFlags.AddTo(flags, "the units were not to be had")
	flags.BoolVarP(&f.Try, "nonblock", "n", false, "do not wait if the units are not free, or others wait")
	flags.Int64Var(&f.limit, "limit", 0, "number `N` of units there are; default: the stored limit")
	flags.Int64Var(&f.units, "units", 1, "number `N` of units to hold")
	flags.BoolVar(&f.Verbose, "verbose", false, "say who is in the way of a wait, as on a terminal, and how long the wait was")
	cmd.AddCommand(newSemStatusCommand(g), newSemResizeCommand(g))
	return cmd
}

// parse takes the arguments behind the first run of flags: NAME, perhaps more flags, COMMAND.
func (f *semFlags) parse(flags *pflag.FlagSet, args []string) (err error) {
	if f.name, f.Command, err = underhold.NameAndCommand(flags, args); err != nil {
		return err
	}
	if err := keyspace.CheckName(app.SemaphoreKind, f.name); err != nil {
		return app.UsageErrorf("%w", err)
	}
	if err := f.Flags.Check(flags.Changed, "units", "while holding units of "+f.what()); err != nil {
		return err
	}
	if err := f.WaitFlags.Check(flags.Changed); err != nil {
		return err
	}
	switch {
	case f.limit < 0:
		return app.UsageErrorf("--limit %d: it must be at least 1, or 0 for the stored one", f.limit)
	case f.units < 1:
		return app.UsageErrorf("--units %d: it must be at least 1", f.units)
	case f.limit > 0 && f.units > f.limit:
		return app.UsageErrorf("--units %d: there are only --limit %d", f.units, f.limit)
	}
	return nil
}

func (f *semFlags) what() string { return fmt.Sprintf("semaphore %q", f.name) }
