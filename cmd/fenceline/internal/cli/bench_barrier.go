package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/fenceline/fenceline/bench/barrier"
)

func newBenchBarrierCommand(g *globals) *cobra.Command {
	cfg := barrier.Defaults()
	cmd := &cobra.Command{
		Use:   "barrier [flags]",
		Short: "Measure how long a round of a barrier takes",
		Long: `Measure how long a round of a barrier takes: from when all parties come until the last is through (ENTER), and from
when all leave until the last has left (LEAVE). Each party has a connection and a session of its own. The rival is the
double barrier of etcd's recipes.

PROPOSALS, READS, WATCHES and EVENTS are what one party asks of etcd, or hears, in one round. Before the measured rounds
there are some in which one party comes late. In all of them it is checked that nobody is through before all have come.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cfg.Validate(); err != nil {
				return usageErrorf("%w", err)
			}
			return g.benchBarrier(cmd, cfg)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&cfg.Subjects, "subjects", cfg.Subjects, "`barriers` to measure")
	flags.IntSliceVar(&cfg.Parties, "parties", cfg.Parties, "`numbers` of parties; each is measured")
	flags.IntVar(&cfg.Rounds, "rounds", cfg.Rounds, "`number` of rounds for each")
	return cmd
}

func (g *globals) benchBarrier(cmd *cobra.Command, cfg barrier.Config) error {
	ctx, stop := untilSignal(cmd.Context())
	defer stop()
	stderr := cmd.ErrOrStderr()
	cluster, err := g.benchCluster(ctx, stderr)
	if err != nil {
		return err
	}
	defer cluster.close()
	cfg.Etcd = cluster.config
	cfg.Talk = func(text string) { fmt.Fprintln(stderr, text) }

	result, err := barrier.Run(ctx, cfg)
	if result != nil && len(result.Rows) > 0 {
		err = errors.Join(err, g.print(cmd.OutOrStdout(), result, barrierTable(result)))
	}
	return barrierError(ctx, err)
}

func barrierError(ctx context.Context, err error) error {
	var unsafe *barrier.SafetyError
	if errors.As(err, &unsafe) {
		return &ExitError{Code: exitFailure, Err: err}
	}
	return benchError(ctx, err)
}

func barrierTable(r *barrier.Result) *table {
	t := &table{header: []string{
		"PARTIES", "SUBJECT", "ROUNDS", "ENTER", "MAX", "LEAVE", "MAX", "BOTH", "PROPOSALS", "READS", "WATCHES", "EVENTS",
	}}
	short := func(d time.Duration) string { return d.Round(10 * time.Microsecond).String() }
	for _, row := range r.Rows {
		share := func(n int64) string { return fmt.Sprintf("%.2f", row.Share(n)) }
		t.add(fmt.Sprint(row.Parties), row.Subject, fmt.Sprint(row.Rounds), short(row.Enter.Median), short(row.Enter.Max),
			short(row.Leave.Median), short(row.Leave.Max), short(row.Both.Median),
			share(row.Cost.Proposals), share(row.Cost.Reads()), share(row.Cost.Watches), share(row.Cost.Events))
	}
	return t
}
