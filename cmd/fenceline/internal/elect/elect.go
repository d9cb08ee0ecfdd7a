// Package elect is "fenceline elect" and "fenceline observe".
package elect

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/underhold"
	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/internal/keyspace"
)

// electFlags is what the command line says about one candidate and its command.
type electFlags struct {
	underhold.Flags
	name     string
	prefix   string // raw; empty: from namespace and name
	value    string
	priority int
	once     bool
}

const electHelp = `Run a command for as long as this process leads, and again each time that it is elected: in all of the cluster, one
command at a time per NAME, the next one when the leader has gone.

The command is run as by "fenceline lock": directly, with this one's input and output, in a process group of its own,
with signals passed on to it. When it ends by itself, for whatever reason, the leadership is given up, and fenceline ends
with its exit code.

When the leadership can no longer be renewed, the command gets SIGTERM, and is dead before etcd can give it to anybody
else. When it is lost at once (somebody revoked the lease or deleted the entry) the command gets SIGTERM, and SIGKILL
after --grace. Then fenceline stands again, behind those who wait, and starts the command anew when it is elected; with
--once, or if it was told to end (SIGINT, SIGTERM, SIGQUIT) meanwhile, it ends with 75. All commands read the same input.
What a command that wakes up late must not write needs a fence as well: FENCELINE_TOKEN grows from leader to leader.

Environment of the command:
  FENCELINE_TOKEN          fencing token, a number that grows with each term
  FENCELINE_LEASE          the lease of the entry, in hex
  FENCELINE_ENDPOINTS      etcd's endpoints
  FENCELINE_ELECTION_NAME  NAME
  FENCELINE_VALUE          what the leader says, --value
  FENCELINE_KEY            the entry's key in etcd
  ETCD_LOCK_KEY            as FENCELINE_KEY
  ETCD_LOCK_REV            create revision of that key; FENCELINE_TOKEN is 4096 times that

Exit codes:
  0-255     the command's own
  128+N     signal N killed the command
  126, 127  the command cannot be run, is not found
  64        wrong command line
  69        etcd cannot be reached at the start, or refuses
  75        the leadership was lost, and the command was ended (--once, or told to end meanwhile)
  130, 143  interrupted while waiting by SIGINT, SIGTERM; nothing is left behind`

func NewCommand(g *app.Globals) *cobra.Command {
	f := &electFlags{}
	cmd := &cobra.Command{
		Use:                   "elect [flags] NAME [flags] [--] COMMAND [ARG...]",
		DisableFlagsInUseLine: true,
		Short:                 "Run a command while leading, and again whenever elected",
		Long:                  electHelp,
		Example: `  fenceline elect scheduler -- ./scheduler --leader
  fenceline elect scheduler --value http://10.0.0.7:8080 --priority 10 -- ./scheduler
  fenceline elect primary --once -- ./promote-and-serve      # a supervisor starts it again
  fenceline observe scheduler                                # who leads, elsewhere`,
		ValidArgsFunction: app.CompleteName(g, &f.Namespace, func() string { return app.ElectionKind }, cobra.ShellCompDirectiveDefault),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.parse(cmd.Flags(), args); err != nil {
				return err
			}
			return runElected(cmd.Context(), g, f, cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	f.AddTo(flags, "leadership")
	flags.StringVar(&f.value, "value", "", "what everybody can read of the leader, an address say; the default is the name of this host")
	flags.IntVar(&f.priority, "priority", 0, "`number` of this candidate: of those who wait, the highest goes first; it may be negative")
	flags.StringVar(&f.prefix, "prefix", "", "stand under this raw `prefix`, as etcdctl elect and election.WithPrefix use it; NAME is then only shown")
	flags.BoolVar(&f.once, "once", false, "end when the leadership is lost, instead of standing again")
	flags.BoolVar(&f.Verbose, "verbose", false, "say who is in the way of a wait, as on a terminal, and how long the wait was")
	return cmd
}

func (f *electFlags) parse(flags *pflag.FlagSet, args []string) (err error) {
	switch {
	case flags.ArgsLenAtDash() == 0:
		return app.UsageErrorf("NAME is missing in front of --")
	case len(args) == 0:
		return app.UsageErrorf("NAME and COMMAND are missing")
	}
	f.name = args[0]
	dashes := false
	if f.Command, dashes, err = underhold.Behind(flags, args[1:]); err != nil {
		return err
	}
	if !dashes && slices.Index(f.Command, "--") == 1 {
		return app.UsageErrorf("%q: an election has one NAME, %q is it", f.Command[0], f.name)
	}
	if err := keyspace.CheckName("election", f.name); err != nil {
		return app.UsageErrorf("%w", err)
	}
	if err := f.Check(flags.Changed, "leadership", "while leading "+f.what()); err != nil {
		return err
	}
	if err := app.CheckPrefix(flags.Changed("prefix"), f.prefix); err != nil {
		return err
	}
	if f.prefix != "" && strings.HasPrefix(f.Namespace, f.prefix+"/") {
		return app.UsageErrorf("--prefix %q: --namespace %q is inside of it", f.prefix, f.Namespace)
	}
	if !flags.Changed("value") {
		if f.value, err = os.Hostname(); err != nil {
			return app.UsageErrorf("--value: it is needed, since this host does not know its name: %w", err)
		}
	}
	return nil
}

// what is led, in words.
func (f *electFlags) what() string { return fmt.Sprintf("election %q", f.name) }

func (f *electFlags) options() []election.Option {
	opts := []election.Option{election.WithPriority(f.priority)}
	if f.prefix != "" {
		opts = append(opts, election.WithPrefix(f.prefix))
	}
	return opts
}
