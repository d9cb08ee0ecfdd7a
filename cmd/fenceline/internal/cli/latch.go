package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/fenceline/fenceline/barrier"
	"github.com/fenceline/fenceline/internal/keyspace"
)

// latchFlags is what the command line says about one latch.
type latchFlags struct {
	waitFlags
	namespace      string
	count          int64
	name, verb, id string
}

func newLatchCommand(g *globals) *cobra.Command {
	f := &latchFlags{}
	cmd := &cobra.Command{
		Use:                   "latch NAME down ID --count N [flags]\n  fenceline latch NAME wait --count N [flags]",
		DisableFlagsInUseLine: true,
		Short:                 "Count a latch down, wait until all have been counted",
		Long: `Count a latch down, wait until all have been counted. A latch opens, for good, when as many different IDs as --count
were counted. An ID is counted once, however often and by whomever: a job that is run again may count again.

Exit codes: 0; 1 not open in time (-w), see -E, --skip-ok, or, whatever those say, others use NAME with another --count;
64 wrong command line; 69 etcd cannot be reached, or refuses; 130, 143 interrupted by SIGINT, SIGTERM.`,
		Example: `  fenceline latch import-2026-01 down shard-3 --count 8
  fenceline latch import-2026-01 wait --count 8 -w 1h && ./publish`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.parse(cmd, args); err != nil {
				return err
			}
			return inSession(g, cmd.Context(), f.namespace, f.what(), cmd.ErrOrStderr(), f.run)
		},
	}
	flags := cmd.Flags()
	f.addTo(flags, "the latch was not open in time")
	flags.Int64Var(&f.count, "count", 0, "number `N` to count down from; all must give the same")
	flags.StringVar(&f.namespace, "namespace", defaultNamespace, "`prefix` of all keys")
	flags.Lookup("count").DefValue = ""
	return cmd
}

func (f *latchFlags) parse(cmd *cobra.Command, args []string) error {
	given := cmd.Flags().Changed
	if len(args) < 2 {
		return usageErrorf("there must be NAME and what to do: down ID, or wait")
	}
	f.name, f.verb = args[0], args[1]
	names := []string{"NAME", "wait"}
	switch f.verb {
	case "wait":
	case "down":
		names = []string{"NAME", "down", "ID"}
	default:
		return usageErrorf("%q: it is neither down nor wait", f.verb)
	}
	if err := takes(names...)(cmd, args); err != nil {
		return err
	}
	if err := checkNamed(latchKind, f.name, f.namespace); err != nil {
		return err
	}
	if f.verb == "down" {
		f.id = args[2]
		if err := keyspace.CheckName("ID", f.id); err != nil {
			return usageErrorf("%w", err)
		}
		for _, flag := range []string{"wait", "skip-ok", "conflict-exit-code"} {
			if given(flag) {
				return usageErrorf("--%s: down waits for nobody", flag)
			}
		}
	}
	switch {
	case !given("count"):
		return usageErrorf("--count is missing: how many are to be counted")
	case f.count < 1:
		return usageErrorf("--count %d: it must be at least 1", f.count)
	}
	return f.check(given)
}

func (f *latchFlags) what() string { return fmt.Sprintf("latch %q", f.name) }

func (f *latchFlags) run(ctx context.Context, h *holder) error {
	latch := barrier.NewLatch(h.session, f.name, f.count)
	if f.verb == "wait" {
		missing := func(ctx context.Context) string {
			left, err := latch.Left(ctx)
			if err != nil {
				return ""
			}
			return fmt.Sprintf("%d of %d left", left, f.count)
		}
		return f.waits(ctx, h, f.what(), latch.Wait, missing, func(ctx context.Context) (bool, error) {
			left, err := latch.Left(ctx)
			return err == nil && left == 0, err
		})
	}
	return opened(f.what(), latch.CountDown(ctx, f.id))
}
