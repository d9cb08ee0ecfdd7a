package bench

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/fenceline/fenceline/bench/idle"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
)

func newBenchIdleCommand(g *app.Globals) *cobra.Command {
	cfg := idle.Defaults()
	cmd := &cobra.Command{
		Use:   "idle [flags]",
		Short: "Measure what locks cost while nothing happens",
		Long: `Measure what locks cost while nothing happens to them: the memory in the client of a held lock and of a waiter, and
what a session that holds many, and one that waits for many, say to etcd.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cfg.Validate(); err != nil {
				return app.UsageErrorf("%w", err)
			}
			return benchIdle(g, cmd, cfg)
		},
	}
	cmd.Flags().IntVar(&cfg.Locks, "locks", cfg.Locks, "`number` of locks")
	cmd.Flags().DurationSliceVar(&cfg.TTLs, "ttl", cfg.TTLs, "`times` that leases live without renewal; each is measured")
	cmd.Flags().IntVar(&cfg.Windows, "windows", cfg.Windows, "`number` of TTLs for which traffic is counted")
	return cmd
}

func benchIdle(g *app.Globals, cmd *cobra.Command, cfg idle.Config) error {
	ctx, stop := app.UntilSignal(cmd.Context())
	defer stop()
	stderr := cmd.ErrOrStderr()
	cluster, err := openCluster(g, ctx, stderr)
	if err != nil {
		return err
	}
	defer cluster.close()
	cfg.Etcd = cluster.config
	cfg.Talk = func(text string) { fmt.Fprintln(stderr, text) }

	result, err := idle.Run(ctx, cfg)
	if result != nil && len(result.Rows) > 0 {
		err = errors.Join(err, g.Print(cmd.OutOrStdout(), result, idleTable(result)))
	}
	return Failed(ctx, err)
}

func idleTable(r *idle.Result) *app.Table {
	t := &app.Table{Header: []string{
		"TTL", "LOCKS", "STATE", "HEAP/LOCK, BYTES", "STACK/LOCK, BYTES", "GOROUTINES/LOCK", "WINDOW", "RENEWALS", "EXPECTED", "OTHER REQUESTS", "EVENTS",
	}}
	row := func(ttl time.Duration, state string, i idle.Idle) {
		c := i.Traffic
		t.Add(ttl.String(), fmt.Sprint(r.Locks), state,
			fmt.Sprintf("%.0f", i.Heap), fmt.Sprintf("%.0f", i.Stack), fmt.Sprintf("%.2f", i.Goroutines),
			i.Window.String(), fmt.Sprint(c.Renewals), fmt.Sprintf("%.0f", i.Expected), fmt.Sprint(c.Requests()-c.Renewals), fmt.Sprint(c.Events))
	}
	for _, r := range r.Rows {
		row(r.TTL, "held", r.Held)
		row(r.TTL, "waiting", r.Waiting)
	}
	return t
}
