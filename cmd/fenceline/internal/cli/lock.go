package cli

import (
	"errors"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/child"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/keyspace"
)

const (
	defaultNamespace = "fenceline/"
	defaultTTL       = 15 * time.Second
	defaultGrace     = 5 * time.Second
)

// lockFlags is what the command line says about one lock and one command.
type lockFlags struct {
	name    string
	command []string

	namespace  string
	try        bool
	wait       seconds
	waitGiven  bool // 0 is a time as well
	conflict   int
	skipOK     bool
	ttl, grace seconds
	onLost     string
	verbose    bool
}

func newLockCommand(g *globals) *cobra.Command {
	f := &lockFlags{ttl: seconds(defaultTTL), grace: seconds(defaultGrace)}
	cmd := &cobra.Command{
		Use:                   "lock [flags] NAME [flags] [--] COMMAND [ARG...]",
		DisableFlagsInUseLine: true,
		Short:                 "Run a command while holding a lock",
		Long: `Run a command while holding a lock: in all of the cluster, one command at a time per NAME, first come, first served.

The command is run directly, not by a shell, with this one's input and output, in a process group of its own. Signals
are passed on to it. The lock is given back when the command has ended, and what it left running has ended too.

If the lock can no longer be renewed, the command gets SIGTERM, and is dead before etcd can give the lock to anybody
else. If it is lost at once (somebody revoked the lease or deleted the entry) the command gets SIGTERM, and SIGKILL
after --grace. While fenceline itself is stopped, by SIGSTOP or Ctrl-Z, nobody renews or watches: what must not be
written late needs a fence as well. That is what FENCELINE_TOKEN is for, which grows from holder to holder.

Environment of the command:
  FENCELINE_LOCK_NAME   NAME
  FENCELINE_TOKEN       fencing token: the create revision of the entry
  FENCELINE_KEY         the entry's key in etcd
  FENCELINE_LEASE       its lease, in hex
  FENCELINE_ENDPOINTS   etcd's endpoints
  ETCD_LOCK_KEY         as FENCELINE_KEY, for scripts written for etcdctl lock
  ETCD_LOCK_REV         as FENCELINE_TOKEN

Exit codes:
  0-255     the command's own
  128+N     signal N killed the command
  126, 127  the command cannot be run, is not found
  1         the lock was not to be had: held (-n), or not free in time (-w); see -E, --skip-ok
  64        wrong command line
  69        etcd cannot be reached, or refuses
  75        the lock was lost while the command ran, and the command was ended
  130, 143  interrupted while waiting by SIGINT, SIGTERM; nothing is left behind`,
		Example: `  fenceline lock nightly-backup -- pg_dump -f /backup/db.sql shop
  fenceline lock -n --skip-ok nightly-report ./report.sh      # cron on every node: one runs, the others skip
  fenceline lock -w 30 -E 99 deploy -- ./deploy.sh`,
		ValidArgsFunction: completeLock(g, &f.namespace),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.parse(cmd.Flags(), args); err != nil {
				return err
			}
			return runLocked(cmd.Context(), g, f, cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false) // the command's flags are the command's
	flags.BoolVarP(&f.try, "nonblock", "n", false, "do not wait if somebody holds the lock")
	flags.VarP(&f.wait, "wait", "w", "wait this many `seconds` at most (2.5, 1m30s); the default is as long as it takes")
	flags.Lookup("wait").DefValue = ""
	flags.IntVarP(&f.conflict, "conflict-exit-code", "E", exitFailure, "exit `code` when the lock was not to be had")
	flags.BoolVar(&f.skipOK, "skip-ok", false, "exit with 0, and say nothing, when the lock was not to be had")
	flags.Var(&f.ttl, "ttl", "`seconds` for which etcd keeps the lock when it hears nothing from here")
	flags.Var(&f.grace, "grace", "`seconds` between SIGTERM and SIGKILL; at most a third of --ttl, to which the default gives way")
	flags.StringVar(&f.onLost, "on-lost", string(child.Kill), "what a lost lock `means` for the command: kill (SIGTERM, then SIGKILL), term (SIGTERM only), ignore")
	flags.StringVar(&f.namespace, "namespace", defaultNamespace, "`prefix` of all keys")
	flags.BoolVar(&f.verbose, "verbose", false, "say how long the wait was")
	flags.BoolP("exclusive", "x", true, "no effect; accepted for compatibility with flock")
	return cmd
}

// parse takes the arguments behind the first run of flags: NAME, perhaps more flags, COMMAND.
func (f *lockFlags) parse(flags *pflag.FlagSet, args []string) error {
	if len(args) == 0 {
		return usageErrorf("NAME and COMMAND are missing")
	}
	f.name = args[0]
	if err := flags.Parse(args[1:]); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return err
		}
		return usageErrorf("%w", err)
	}
	if flags.Changed("help") {
		return pflag.ErrHelp
	}
	f.command = flags.Args()
	return f.check(flags.Changed)
}

// check names what cannot be, before anything is asked of etcd.
func (f *lockFlags) check(given func(flag string) bool) error {
	if err := keyspace.CheckName("lock", f.name); err != nil {
		return usageErrorf("%w", err)
	}
	if len(f.command) == 0 || f.command[0] == "" {
		return usageErrorf("COMMAND is missing: nothing to run while holding lock %q", f.name)
	}
	if err := keeper.CheckTTL(time.Duration(f.ttl)); err != nil {
		return usageErrorf("--ttl: %w", err)
	}
	f.waitGiven = given("wait")
	longest := f.ttl / 3
	if !given("grace") {
		f.grace = min(f.grace, longest)
	}
	switch {
	case f.try && f.waitGiven:
		return usageErrorf("-n and -w exclude each other: do not wait, or wait %v", f.wait)
	case f.skipOK && given("conflict-exit-code"):
		return usageErrorf("--skip-ok and -E exclude each other: they name different exit codes")
	case f.conflict < 0 || f.conflict > 255:
		return usageErrorf("-E %d: an exit code is between 0 and 255", f.conflict)
	case f.grace > longest:
		return usageErrorf("--grace %v: at most a third of --ttl %v is allowed, %v: a longer one would end commands whose lock is about to be renewed", f.grace, f.ttl, longest)
	case f.namespace == "":
		return usageErrorf("--namespace: it is empty")
	}
	switch child.OnLost(f.onLost) {
	case child.Kill, child.Term, child.Ignore:
		return nil
	}
	return usageErrorf("--on-lost %q: it is none of kill, term, ignore", f.onLost)
}
