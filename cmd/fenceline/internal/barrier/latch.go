package barrier

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/fenceline/fenceline/barrier"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/underhold"
	"github.com/fenceline/fenceline/internal/keyspace"
)

// latchFlags is what the command line says about one latch.
type latchFlags struct {
	underhold.WaitFlags
	namespace      string
	count          int64
	name, verb, id string
}

func NewLatchCommand(g *app.Globals) *cobra.Command {
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
			return underhold.InSession(g, cmd.Context(), f.namespace, f.what(), cmd.ErrOrStderr(), f.run)
		},
	}
	flags := cmd.Flags()
	f.AddTo(flags, "the latch was not open in time")
	flags.Int64Var(&f.count, "count", 0, "number `N` to count down from; all must give the same")
	flags.StringVar(&f.namespace, "namespace", app.DefaultNamespace, "`prefix` of all keys")
	flags.Lookup("count").DefValue = ""
	return cmd
}

func (f *latchFlags) parse(cmd *cobra.Command, args []string) error {
	given := cmd.Flags().Changed
	if len(args) < 2 {
		return app.UsageErrorf("there must be NAME and what to do: down ID, or wait")
	}
	f.name, f.verb = args[0], args[1]
	names := []string{"NAME", "wait"}
	switch f.verb {
	case "wait":
	case "down":
		names = []string{"NAME", "down", "ID"}
	default:
		return app.UsageErrorf("%q: it is neither down nor wait", f.verb)
	}
	if err := app.Takes(names...)(cmd, args); err != nil {
		return err
	}
	if err := app.CheckNamed(app.LatchKind, f.name, f.namespace); err != nil {
		return err
	}
	if f.verb == "down" {
		f.id = args[2]
		if err := keyspace.CheckName("ID", f.id); err != nil {
			return app.UsageErrorf("%w", err)
		}
		for _, flag := range []string{"wait", "skip-ok", "conflict-exit-code"} {
			if given(flag) {
				return app.UsageErrorf("--%s: down waits for nobody", flag)
			}
		}
	}
	switch {
	case !given("count"):
		return app.UsageErrorf("--count is missing: how many are to be counted")
	case f.count < 1:
		return app.UsageErrorf("--count %d: it must be at least 1", f.count)
	}
	return f.Check(given)
}

func (f *latchFlags) what() string { return fmt.Sprintf("latch %q", f.name) }

func (f *latchFlags) run(ctx context.Context, h *underhold.Holder) error {
	latch := barrier.NewLatch(h.Session, f.name, f.count)
	if f.verb == "wait" {
		missing := func(ctx context.Context) string {
			left, err := latch.Left(ctx)
			if err != nil {
				return ""
			}
			return fmt.Sprintf("%d of %d left", left, f.count)
		}
		return f.Waits(ctx, h, f.what(), latch.Wait, missing, func(ctx context.Context) (bool, error) {
			left, err := latch.Left(ctx)
			return err == nil && left == 0, err
		})
	}
	return underhold.Opened(f.what(), latch.CountDown(ctx, f.id))
}
