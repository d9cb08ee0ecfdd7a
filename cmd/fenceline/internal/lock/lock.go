// Package lock is "fenceline lock".
package lock

import (
	"github.com/spf13/cobra"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/underhold"
)

// lockFlags is what the command line says about one hold and one command.
type lockFlags struct {
	underhold.Flags
	names  []string // more than one: a set
	prefix string   // raw; empty: from namespace and NAME

	shared, exclusive bool // the modes of a rwlock; neither: a mutex
	several           bool // see parse
	dashes            bool // stand in front of the command
	try               bool
	wait              app.Seconds
	waitGiven         bool // 0 is a time as well
	maxWaiters        int  // 0: any number
	conflict          int
	skipOK            bool
	minHold, takeover app.Seconds
}

const lockHelp = `Run a command while holding a lock: in all of the cluster, one command at a time per NAME, first come, first served.

The command is run directly, not by a shell, with this one's input and output, in a process group of its own. Signals
are passed on to it. The lock is given back when the command has ended, and what it left running has ended too.

Several NAMEs, with -- behind the last, are locked all at once: it waits until all of them are free, in whatever order
they are given, and no two such commands can wait for each other.

With -s or -x the lock is a read-write lock, another one than that of the same NAME without them: commands with -s share
it, one with -x has it alone.

  fenceline lock -s catalogue -- ./search
  fenceline lock -x catalogue -- ./rebuild

If the lock can no longer be renewed, the command gets SIGTERM, and is dead before etcd can give the lock to anybody
else. If it is lost at once (somebody revoked the lease or deleted the entry) the command gets SIGTERM, and SIGKILL
after --grace. That is about loss only: a SIGTERM to fenceline is passed on, and the command may take its time. While
fenceline itself is stopped, by SIGSTOP or Ctrl-Z, nobody renews or watches: what must not be written late needs a fence
as well. That is what FENCELINE_TOKEN is for, which grows from holder to holder.

Environment of the command:
  FENCELINE_TOKEN       fencing token, a number that grows with each grant; with several NAMEs it is the same for all
  FENCELINE_LEASE       the lease of the entry, in hex
  FENCELINE_ENDPOINTS   etcd's endpoints
  FENCELINE_LOCK_NAMES  the NAMEs, one on each line
  FENCELINE_KEYS        the keys of their entries in etcd, in the same order, one on each line
 and with one NAME
  FENCELINE_LOCK_NAME   NAME
  FENCELINE_KEY         the entry's key
  ETCD_LOCK_KEY         as FENCELINE_KEY, for scripts written for etcdctl lock
  ETCD_LOCK_REV         create revision of that key; FENCELINE_TOKEN is 4096 times that

Exit codes:
  0-255     the command's own
  128+N     signal N killed the command
  126, 127  the command cannot be run, is not found
  1         the lock could not be acquired: held (-n), not free in time (-w), too many waiting (--max-waiters); it says
            who is in the way; see -E, --skip-ok
  64        wrong command line
  69        etcd cannot be reached, or refuses
  75        the lock was lost while the command ran, and the command was ended
  130, 143  interrupted while waiting by SIGINT, SIGTERM; nothing is left behind`

func NewCommand(g *app.Globals) *cobra.Command {
	f := &lockFlags{}
	cmd := &cobra.Command{
		Use:                   "lock [flags] NAME [flags] [--] COMMAND [ARG...]\n  fenceline lock [flags] NAME NAME... [flags] -- COMMAND [ARG...]",
		DisableFlagsInUseLine: true,
		Short:                 "Run a command while holding a lock",
		Long:                  lockHelp,
		Example: `  fenceline lock nightly-backup -- pg_dump -f /backup/db.sql shop
  fenceline lock -n --skip-ok nightly-report ./report.sh      # cron on every node: one runs, the others skip
  fenceline lock -n --skip-ok --min-hold 1m tick -- ./tick    # the same, on nodes whose clocks differ by up to a minute
  fenceline lock -w 30 -E 99 deploy -- ./deploy.sh
  fenceline lock accounts/7 accounts/12 -- ./transfer
  fenceline lock --prefix my/lock nightly -- ./job            # excludes etcdctl lock my/lock`,
		ValidArgsFunction: app.CompleteName(g, &f.Namespace, f.kind, cobra.ShellCompDirectiveDefault),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.parse(cmd.Flags(), args); err != nil {
				return err
			}
			return runLocked(cmd.Context(), g, f, cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	f.AddTo(flags, "lock")
	flags.BoolVarP(&f.shared, "shared", "s", false, "share NAME with others who take it with -s, while nobody holds it with -x")
	flags.BoolVarP(&f.exclusive, "exclusive", "x", false, "take NAME while nobody holds it with -s or -x")
	flags.StringVar(&f.prefix, "prefix", "", "stand under this raw `prefix`, as etcdctl lock and lock.WithPrefix use it; NAME is then only shown")
	flags.BoolVar(&f.several, "several", false, "all words in front of -- are NAMEs, also those that are commands on this machine")
	flags.BoolVarP(&f.try, "nonblock", "n", false, "do not wait if somebody holds the lock")
	flags.VarP(&f.wait, "wait", "w", "wait this many `seconds` at most (2.5, 1m30s); the default is as long as it takes")
	flags.IntVar(&f.maxWaiters, "max-waiters", 0, "do not wait if `N` or more are waiting already")
	flags.IntVarP(&f.conflict, "conflict-exit-code", "E", app.ExitFailure, "exit `code` if the lock could not be acquired")
	flags.BoolVar(&f.skipOK, "skip-ok", false, "exit with 0, silently, if the lock could not be acquired")
	flags.Var(&f.minHold, "min-hold", "keep others out for this many `seconds` from the start, even if the command ends sooner; fenceline itself does not wait")
	flags.Var(&f.takeover, "takeover-delay", "`seconds` to wait after a holder before this one has died rather than given the lock back")
	flags.BoolVar(&f.Verbose, "verbose", false, "say who is in the way of a wait, as on a terminal, and how long the wait was")
	for _, unset := range []string{"wait", "min-hold", "takeover-delay"} {
		flags.Lookup(unset).DefValue = ""
	}
	return cmd
}
