// Package barrier is "fenceline barrier", "gate" and "latch".
package barrier

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/underhold"
	"github.com/fenceline/fenceline/internal/keyspace"
)

// barrierFlags is what the command line says about one party of a round and its command.
type barrierFlags struct {
	underhold.Flags
	underhold.WaitFlags
	name     string
	parties  int
	breaking bool
}

const barrierHelp = `Run a command when as many have come: it waits until --parties of NAME are here, in all of the cluster, and then each
runs its command. All of them leave together as well: when its command has ended, each waits until those of the others
have. After that the next round may begin, with the same NAME.

A party that is interrupted before the round is full takes itself out; one that dies is out when its lease ends. Another
may come instead, but with --break the round is then broken for all that have it. Once full, a round stays full: who dies
after that has left.

The command is run as "fenceline lock" does it: directly, with this one's input and output, in a process group of its
own; signals are passed on to it. If the place in the round is lost, which the others take for having left, the command
gets SIGTERM; see --on-lost.

Environment of the command:
  FENCELINE_BARRIER_NAME  NAME
  FENCELINE_ROUND         the number of the round, the same for all its parties
  FENCELINE_ENDPOINTS     etcd's endpoints

Exit codes:
  0-255     the command's own
  128+N     signal N killed the command
  126, 127  the command cannot be run, is not found
  1         the round was not full in time (-w) or is broken (--break), see -E, --skip-ok; or, whatever those say:
            others use NAME with another number of parties
  64        wrong command line
  69        etcd cannot be reached, or refuses
  75        the place was lost while the command ran, and the command was ended
  130, 143  interrupted by SIGINT, SIGTERM while waiting for the others; nothing is left behind`

func NewBarrierCommand(g *app.Globals) *cobra.Command {
	f := &barrierFlags{}
	cmd := &cobra.Command{
		Use:                   "barrier [flags] NAME --parties N [flags] [--] COMMAND [ARG...]",
		DisableFlagsInUseLine: true,
		Short:                 "Run a command together with others, when all have come",
		Long:                  barrierHelp,
		Example: `  fenceline barrier load-test --parties 5 -- ./client
  fenceline barrier load-test --parties 5 -w 1m --break -- ./client`,
		ValidArgsFunction: app.CompleteName(g, &f.Namespace, func() string { return app.BarrierKind }, cobra.ShellCompDirectiveDefault),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.parse(cmd.Flags(), args); err != nil {
				return err
			}
			return runBarrier(cmd.Context(), g, f, cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	f.Flags.AddTo(flags, "place")
	f.WaitFlags.AddTo(flags, "the round was not full in time, or is broken")
	flags.IntVar(&f.parties, "parties", 0, "number `N` of parties that make a round; all must give the same")
	flags.BoolVar(&f.breaking, "break", false, "give up, all of us, when one leaves or dies before the round is full")
	flags.BoolVar(&f.Verbose, "verbose", false, "say how many are here while it waits, as on a terminal, and how long the wait was")
	flags.Lookup("parties").DefValue = ""
	return cmd
}

func (f *barrierFlags) parse(flags *pflag.FlagSet, args []string) (err error) {
	if f.name, f.Command, err = underhold.NameAndCommand(flags, args); err != nil {
		return err
	}
	if err := keyspace.CheckName(app.BarrierKind, f.name); err != nil {
		return app.UsageErrorf("%w", err)
	}
	if err := f.Flags.Check(flags.Changed, "place", "in a round of "+f.what()); err != nil {
		return err
	}
	switch {
	case !flags.Changed("parties"):
		return app.UsageErrorf("--parties is missing: how many make a round")
	case f.parties < 1:
		return app.UsageErrorf("--parties %d: it must be at least 1", f.parties)
	}
	if err := f.WaitFlags.Check(flags.Changed); err != nil {
		return err
	}
	if f.WillNotWait() {
		return app.UsageErrorf("--wait %v: it must be more than 0, for the others to come", f.Wait)
	}
	return nil
}

func (f *barrierFlags) what() string { return fmt.Sprintf("barrier %q", f.name) }
