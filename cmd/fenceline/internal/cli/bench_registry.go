package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/fenceline/fenceline/bench/registry"
)

func newBenchRegistryCommand(g *globals) *cobra.Command {
	cfg := registry.Defaults()
	cmd := &cobra.Command{
		Use:   "registry [flags]",
		Short: "Measure a service registry: how fast changes are seen, what reading and a large directory cost",
		Long: `Measure a service registry, beside etcd's own package naming/endpoints: from the call that registers an instance, or
takes it back, until each of many watchers, and a resolver of gRPC, sees that; from kill -9 of a process until its instance is gone; a look at
etcd against a read from memory; loading many instances, the memory they take, and how soon a change of one is seen;
and what a session with many registrations asks of etcd while nothing happens.

Each watcher has a connection of its own. The last kill is followed by the TTL, which bounds both.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cfg.Validate(); err != nil {
				return usageErrorf("%w", err)
			}
			return g.benchRegistry(cmd, cfg)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&cfg.Subjects, "subjects", cfg.Subjects, "`registries` to measure")
	flags.IntVar(&cfg.Watchers, "watchers", cfg.Watchers, "`number` of watchers")
	flags.IntVar(&cfg.Times, "times", cfg.Times, "`number` of registrations that they see")
	flags.IntVar(&cfg.Kills, "kills", cfg.Kills, "`number` of processes to kill")
	flags.DurationVar(&cfg.TTL, "ttl", cfg.TTL, "`time` that leases live without renewal")
	flags.IntVar(&cfg.Instances, "instances", cfg.Instances, "`number` of instances of the large directory")
	flags.IntVar(&cfg.Services, "services", cfg.Services, "`number` of services that they are of")
	flags.IntVar(&cfg.Registrations, "registrations", cfg.Registrations, "`number` of registrations of the session at rest")
	cmd.AddCommand(newInstanceCommand(g))
	return cmd
}

func (g *globals) benchRegistry(cmd *cobra.Command, cfg registry.Config) error {
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
	if cfg.Command, err = g.again(cluster, "bench", "registry", "instance"); err != nil {
		return err
	}
	result, err := registry.Run(ctx, cfg)
	if result != nil && len(result.Rows) > 0 {
		err = errors.Join(err, g.print(cmd.OutOrStdout(), result, registryTable(result)))
	}
	return benchError(ctx, err)
}

// again makes commands of this program that talk to the same cluster.
func (g *globals) again(cluster *benchCluster, args ...string) (func() *exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args = append(args, g.connection.candidateFlags(cluster)...)
	return func() *exec.Cmd {
		cmd := exec.Command(self, args...)
		cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { // the flags say it all
			return strings.HasPrefix(v, "FENCELINE_") || strings.HasPrefix(v, "ETCDCTL_")
		})
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt at the terminal is for us
		return cmd
	}, nil
}

// newInstanceCommand is what the benchmark starts and kills.
func newInstanceCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:    "instance",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := g.connection.config()
			if err != nil {
				return err
			}
			return registry.Serve(cmd.Context(), config, cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}

func registryTable(r *registry.Result) *table {
	t := &table{header: []string{"MEASURE", "SUBJECT", "COUNT", "MEDIAN", "P99", "MAX"}}
	short := func(d time.Duration) string {
		switch {
		case d == 0:
			return ""
		case d < 10*time.Microsecond:
			return d.String()
		}
		return d.Round(10 * time.Microsecond).String()
	}
	for _, row := range r.Rows {
		median := short(row.Median)
		if row.Median == 0 {
			median = strings.TrimSpace(fmt.Sprintf("%.3g %s", row.Value, row.Unit))
		}
		t.add(row.Measure, row.Subject, fmt.Sprint(row.Count), median, short(row.P99), short(row.Max))
	}
	return t
}
