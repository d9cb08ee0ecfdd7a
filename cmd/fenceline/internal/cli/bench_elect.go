package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fenceline/fenceline/bench/elect"
)

func newBenchElectCommand(g *globals) *cobra.Command {
	cfg := elect.Defaults()
	cmd := &cobra.Command{
		Use:   "elect [flags]",
		Short: "Measure for how long nobody leads an election",
		Long: `Measure for how long nobody leads: from the end of one leader's term to the start of the next one's. A leader resigns,
or its process is killed (SIGKILL) and its lease has to run out. Each candidate is a process of its own; the puts are
what one proposal takes in the same run.

With --etcd-kills a cluster of three members is started for that part, and half a TTL after the leader's process the
leader of etcd itself is killed, too. The new one gives all leases their full time again, that of the dead leader
included: the column RESET counts how often.

LATE counts take-overs after a kill that took longer than the TTL and a second. UNASKED counts terms that ended by
themselves, on a machine too busy to renew; these are not in the figures.`,
		Example: `  fenceline bench elect
  fenceline bench elect --resigns 0 --ttl 2s,5s,15s
  fenceline bench elect --resigns 0 --kills 0 --ttl 5s --etcd-kills 3`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cfg.Validate(); err != nil {
				return usageErrorf("%w", err)
			}
			return g.benchElect(cmd, cfg)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&cfg.Subjects, "subjects", cfg.Subjects, "`elections` to measure")
	flags.IntVar(&cfg.Candidates, "candidates", cfg.Candidates, "`number` of candidates, each a process")
	flags.IntVar(&cfg.Resigns, "resigns", cfg.Resigns, "`number` of take-overs after Resign")
	flags.IntVar(&cfg.Kills, "kills", cfg.Kills, "`number` of take-overs after SIGKILL, for each TTL")
	flags.IntVar(&cfg.EtcdKills, "etcd-kills", cfg.EtcdKills, "`number` of take-overs while etcd's own leader is killed, for each TTL")
	flags.DurationSliceVar(&cfg.TTLs, "ttl", cfg.TTLs, "`times` that leases live without renewal; each is measured")
	cmd.AddCommand(newCandidateCommand(g))
	return cmd
}

func (g *globals) benchElect(cmd *cobra.Command, cfg elect.Config) error {
	ctx, stop := untilSignal(cmd.Context())
	defer stop()
	stderr := cmd.ErrOrStderr()
	if cfg.EtcdKills > 0 && g.connection.named() {
		return usageErrorf("--etcd-kills: kills members only of a cluster that it has started, and not with --endpoints")
	}
	cfg.Talk = func(text string) { fmt.Fprintln(stderr, text) }

	var result *elect.Result
	calm := cfg
	calm.EtcdKills = 0
	if calm.Resigns+calm.Kills > 0 {
		cluster, err := g.benchCluster(ctx, stderr)
		if err != nil {
			return err
		}
		result, err = g.elect(ctx, calm, cluster)
		cluster.close()
		if err != nil {
			return benchError(ctx, errors.Join(err, g.printElect(cmd, result)))
		}
	}
	if cfg.EtcdKills > 0 {
		members, err := startMembers(ctx, 3)
		if err != nil {
			return errors.Join(benchError(ctx, err), g.printElect(cmd, result))
		}
		defer members.close()
		fmt.Fprintf(stderr, "Started an etcd of three members at %s.\n", strings.Join(members.config.Endpoints, ","))
		cfg.Resigns, cfg.Kills, cfg.Cluster = 0, 0, members
		more, err := g.elect(ctx, cfg, &benchCluster{config: members.config})
		if result == nil {
			result = more
		} else if more != nil {
			result.Rows = append(result.Rows, more.Rows...)
		}
		if err != nil {
			return benchError(ctx, errors.Join(err, g.printElect(cmd, result)))
		}
	}
	return g.printElect(cmd, result)
}

// named says whether the user says where etcd is.
func (c *connection) named() bool {
	return c.fromEnvironment() == nil && (c.flags.Changed("endpoints") || c.flags.Changed("discovery-srv"))
}

func (g *globals) elect(ctx context.Context, cfg elect.Config, cluster *benchCluster) (*elect.Result, error) {
	var err error
	if cfg.Command, err = g.again(cluster, "bench", "elect", "candidate"); err != nil {
		return nil, err
	}
	cfg.Etcd = cluster.config
	return elect.Run(ctx, cfg)
}

// candidateFlags are how to reach the cluster, but for the user.
func (c *connection) candidateFlags(cluster *benchCluster) []string {
	flags := []string{"--endpoints=" + strings.Join(cluster.config.Endpoints, ",")}
	if cluster.config.TLS == nil {
		return flags
	}
	for name, value := range map[string]string{"cacert": c.caCert, "cert": c.cert, "key": c.key} {
		if value != "" {
			flags = append(flags, "--"+name+"="+value)
		}
	}
	return flags
}

// newCandidateCommand is what the benchmark starts and kills.
func newCandidateCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:    "candidate",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := g.connection.config()
			if err != nil {
				return err
			}
			return elect.Serve(cmd.Context(), config, cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}

func (g *globals) printElect(cmd *cobra.Command, r *elect.Result) error {
	if r == nil || len(r.Rows) == 0 {
		return nil
	}
	return g.print(cmd.OutOrStdout(), r, electTable(r))
}

func electTable(r *elect.Result) *table {
	t := &table{header: []string{"END OF TERM", "TTL", "SUBJECT", "TIMES", "MEDIAN", "MAX", "PUTS", "LATE", "RESET", "UNASKED"}}
	short := func(d time.Duration) string { return d.Round(10 * time.Microsecond).String() }
	for _, row := range r.Rows {
		ttl, puts, late, reset := row.TTL.String(), "", fmt.Sprint(row.Late), ""
		if row.End == elect.Resign {
			ttl, late = "", ""
		}
		if row.End == elect.Resign && r.Put != nil && r.Put.Median > 0 {
			puts = fmt.Sprintf("%.2f", float64(row.Median)/float64(r.Put.Median))
		}
		if row.Reset != nil {
			reset = fmt.Sprint(*row.Reset)
		}
		t.add(row.End, ttl, row.Subject, fmt.Sprint(len(row.All)), short(row.Median), short(row.Max), puts, late, reset, fmt.Sprint(row.Unasked))
	}
	if r.Put != nil && len(r.Put.All) > 0 {
		t.add("(a plain put)", "", "", fmt.Sprint(len(r.Put.All)), short(r.Put.Median), short(r.Put.Max), "1.00", "", "", "")
	}
	return t
}
