// Package bench is "fenceline bench".
package bench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/condition"
	"github.com/fenceline/fenceline/bench/report"
	"github.com/fenceline/fenceline/bench/takeover"
	"github.com/fenceline/fenceline/bench/workload"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
)

// NewCommand measures the first workload; each of the others is a subcommand.
func NewCommand(g *app.Globals) *cobra.Command {
	workloads := workload.All()
	cmd := newWorkloadCommand(g, workloads[0])
	cmd.Use = "bench [flags]"
	cmd.Short = "Measure what it costs to take turns"
	cmd.Long = `Measure a contended lock: acquisitions per second, how long a contender waits, how long the lock lies idle between
two holders, how evenly it is shared, and what each acquisition costs the cluster. Every subject is measured in
every cell, in alternation, and every acquisition is checked: if two were ever inside at once, the run fails.

Without --endpoints, and without FENCELINE_ENDPOINTS and ETCDCTL_ENDPOINTS in the environment, it starts an etcd of its own,
in a process of its own and with fsync, and ends it. With them it loads that cluster, below fenceline-bench/, and leaves
nothing there. --compact removes history of the whole cluster.

Without --contenders, --goroutines, --hold and --fenced it makes the tour: 1, 2, 8 and 32 contenders, some with a
hold, and many goroutines of few contenders. With any of them it measures every combination of their lists.

Then processes that hold the lock are killed -9, to see how long it stays with them. Where cells are chosen, only with --kills.

That is for a mutex; the subcommands measure other workloads in the same way.

In the table, ± is half of what the slowest and the fastest round differ by; short is how many different contenders there are
among as many successive turns as there are contenders, as a share; what an acquisition costs is proposals, reads, watch
events and bytes of etcd's, and time of this process's CPU.

The report goes to stdout: a table, JSON with -o json, or with --bench the format of "go test -bench". --html writes a
page as well: throughput and hand-over against contenders, latency curves, who was inside when, and what each got;
--csv a row for each round, --hgrm the percentiles.

Exit codes: 1 when a lock did not exclude or could not be measured; 64 for a wrong setting; 69 when etcd cannot be
reached; 128 plus the signal's number when interrupted, after cleaning up and reporting what was measured by then.`
	cmd.Example = `  fenceline bench
  fenceline bench --html report.html
  fenceline bench --contenders 2,8 --hold 0,10ms --duration 5s
  fenceline bench --contenders 32 --rate 300      # as many as users would begin
  fenceline bench --contenders 8 --kills 20 --kill-ttl 2s,10s
  fenceline bench --members 3 --delay 1ms --noise 500
  fenceline bench --rivals auto
  fenceline bench rw --readers 90,99
  fenceline bench --endpoints etcd-1:2379 -o json > result.json
  fenceline bench --bench | benchstat -col /subject -`
	cmd.Long = withRivals(cmd.Long)
	for _, w := range workloads[1:] {
		cmd.AddCommand(newWorkloadCommand(g, w))
	}
	cmd.AddCommand(newBenchIdleCommand(g), newBenchCompareCommand(g), newBenchServeCommand(g))
	return cmd
}

// Flags are the settings that Config does not have in the same form.
type Flags struct {
	Subjects   []string
	contenders []int
	goroutines []int
	holds      []time.Duration
	goBench    bool
	columns    string // wide, narrow; auto: as there is room
	html       string
	csv, hgrm  string
	rate       float64
	members    int
	conditions condition.Conditions
	Rivals     RivalFlags
	takeover   *takeover.Probe // nil for a workload without a lock to hold
}

func newWorkloadCommand(g *app.Globals, w bench.Workload) *cobra.Command {
	var (
		f   Flags
		cfg = bench.Defaults()
		own = flag.NewFlagSet(w.Name, flag.ContinueOnError)
	)
	cells := w.Flags(own)
	probes := func() []bench.Probe { return nil }
	if w.Probes != nil {
		probes = w.Probes(own)
	}
	cmd := &cobra.Command{
		Use:   w.Name + " [flags]",
		Short: w.Short,
		Long:  w.Long,
		Args:  cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.AddGoFlagSet(own)
	flags.IntSliceVar(&f.contenders, "contenders", w.Contenders, "`numbers` of contenders: separate connections and sessions")
	flags.IntSliceVar(&f.goroutines, "goroutines", []int{1}, "`numbers` of goroutines for each contender")
	flags.DurationSliceVar(&f.holds, "hold", []time.Duration{0}, "`times` to hold the lock")
	flags.Float64Var(&f.rate, "rate", 0, "`turns` that all contenders together begin in a second, at random times; 0: each as soon as its last one is over")
	var settings []string // that change the cells: those that are declared so far
	flags.VisitAll(func(f *pflag.Flag) { settings = append(settings, f.Name) })

	flags.StringSliceVar(&f.Subjects, "subjects", w.Versus, "`locks` to measure; the ratio is to the last one")
	flags.DurationVar(&cfg.Duration, "duration", cfg.Duration, "measured `time` of each subject in each round of each cell")
	flags.DurationVar(&cfg.WarmUp, "warm-up", cfg.WarmUp, "`time` before that, not counted")
	flags.IntVar(&cfg.Rounds, "rounds", cfg.Rounds, "`number` of rounds, each in the opposite order of the one before")
	flags.DurationVar(&cfg.TTL, "ttl", cfg.TTL, "`time` that leases live without renewal")
	flags.IntVar(&f.members, "members", 1, "`number` of members of the etcd that it starts: 1 or 3")
	flags.Float64Var(&f.conditions.Noise, "noise", 0, "`puts` a second by somebody else meanwhile")
	flags.DurationVar(&f.conditions.Compact, "compact", 0, "`time` between two compactions of the whole cluster's history meanwhile; 0: none")
	flags.DurationVar(&f.conditions.Delay, "delay", 0, "`time` that each message to and from etcd takes longer")
	if w.Exclusive != nil {
		f.takeover = &takeover.Probe{Workload: w.Name}
		flags.IntVar(&f.takeover.Kills, "kills", defaultKills, "`number` of processes to kill -9 for each subject; 0 where cells are chosen, unless it is given")
		flags.IntVar(&f.takeover.EtcdKills, "etcd-kills", 0, "`number` of processes after which etcd's leader is killed, too, half a TTL later; with --members 3")
		flags.DurationSliceVar(&f.takeover.TTLs, "kill-ttl", []time.Duration{5 * time.Second}, "`times` that leases of processes to be killed live without renewal; each is measured")
	}
	f.Rivals.Start = "none"
	if w.Name == (bench.Mutex{}).About().Workload {
		f.Rivals.addTo(flags)
	}
	flags.StringVar(&f.html, "html", "", "also write a page with pictures to this `file`")
	flags.StringVar(&f.csv, "csv", "", "also write a row for each round to this `file`")
	flags.StringVar(&f.hgrm, "hgrm", "", "also write the percentiles of each cell and subject to files in this `directory`, in HdrHistogram's format")
	flags.StringVar(&f.columns, "columns", "auto", "`which` columns the table has: wide (all), narrow (for 80 columns), auto (by the terminal)")
	flags.BoolVar(&f.goBench, "bench", false, "report in the format of go test -bench, for benchstat")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if f.columns != "auto" && f.columns != "wide" && f.columns != "narrow" {
			return app.UsageErrorf("--columns %q: it is none of auto, wide, narrow", f.columns)
		}
		if f.goBench && g.Output == app.OutputJSON {
			return app.UsageErrorf("--bench and -o json exclude each other")
		}
		cfg.Cells = w.Tour
		chosen := slices.ContainsFunc(settings, flags.Changed)
		if len(w.Tour) == 0 || chosen {
			cfg.Cells = cells(bench.Grid(f.contenders, f.goroutines, f.holds, false))
			for i := range cfg.Cells {
				cfg.Cells[i].Rate = f.rate
			}
		}
		var err error
		if cfg.Subjects, err = f.known(w); err != nil {
			return err
		}
		if f.takeover != nil {
			if chosen && !flags.Changed("kills") {
				f.takeover.Kills = 0
			}
			if f.takeover.EtcdKills > 0 && f.members == 1 {
				return app.UsageErrorf("--etcd-kills %d: kills members of a cluster that it has started, with --members 3", f.takeover.EtcdKills)
			}
			f.takeover.Cluster = notYet{}
			cfg.Probes = append(cfg.Probes, f.takeover)
		}
		cfg.Probes = append(cfg.Probes, probes()...)
		if err := cfg.Validate(); err != nil {
			return app.UsageErrorf("%w", err)
		}
		if err := f.conditions.Validate(); err != nil {
			return app.UsageErrorf("%w", err)
		}
		if err := f.Rivals.check(); err != nil {
			return err
		}
		if f.members != 1 && f.members != 3 {
			return app.UsageErrorf("--members %d: want 1 or 3", f.members)
		}
		if f.members > 1 && g.Connection.Named() {
			return app.UsageErrorf("--members %d: is for the etcd that it starts, and not with --endpoints, nor with FENCELINE_ENDPOINTS or ETCDCTL_ENDPOINTS in the environment", f.members)
		}
		write, discard, err := f.writer(g, flags.Changed)
		if err != nil {
			return err
		}
		defer discard()
		return runBench(g, cmd, cfg, f, write)
	}
	return cmd
}

func (f *Flags) format(g *app.Globals) func(io.Writer, *bench.Result) error {
	switch {
	case f.goBench:
		return report.GoBench
	case g.Output == app.OutputJSON:
		return report.JSON
	case f.columns == "wide":
		return report.Table
	case f.columns == "narrow":
		return report.NarrowTable
	}
	return func(w io.Writer, r *bench.Result) error {
		if width := terminalWidth(w); width > 0 && width < report.WideColumns {
			return report.NarrowTable(w, r)
		}
		return report.Table(w, r)
	}
}

// terminalWidth is zero where there is none.
func terminalWidth(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		return app.WidthOf(f)
	}
	return 0
}

// bench runs cfg, which is valid, and writes the report even if the run ended early.
func runBench(g *app.Globals, cmd *cobra.Command, cfg bench.Config, f Flags, write func(io.Writer, *bench.Result) error) error {
	ctx, stop := app.UntilSignal(cmd.Context())
	defer stop()
	stderr := cmd.ErrOrStderr()
	config, members, end, err := clusterOf(g, ctx, f.members, stderr)
	if err != nil {
		return err
	}
	defer end()
	if f.takeover != nil {
		f.takeover.Cluster = members
	}
	config, stopConditions, err := f.conditions.Start(config)
	if err != nil {
		return app.UnavailableErrorf("%w", err)
	}
	defer func() {
		if err := stopConditions(); err != nil {
			fmt.Fprintf(stderr, "fenceline: %v\n", err)
		}
	}()
	cfg.Etcd, cfg.Conditions = config, f.conditions.Names()
	rivals, at, stopRivals, err := f.Rivals.open(ctx, func(text string) { fmt.Fprintln(stderr, text) })
	if ctx.Err() != nil && err != nil {
		return Failed(ctx, context.Cause(ctx))
	}
	if err != nil {
		return Failed(ctx, err)
	}
	defer func() {
		if err := stopRivals(); err != nil {
			fmt.Fprintf(stderr, "fenceline: %v\n", err)
		}
	}()
	if cfg.Subjects, err = f.Chosen(cfg.Subjects, rivals); err != nil {
		return err
	}
	if cfg.Command, err = roles(g, config, at); err != nil {
		return err
	}

	fmt.Fprintf(stderr, "Measuring for about %v.\n", cfg.Estimate().Round(time.Second))
	done := func() {}
	if app.IsTerminal(stderr) {
		cfg.Progress, done = report.Live(stderr, func() int { return terminalWidth(stderr) })
	} else {
		cfg.Progress = report.Lines(stderr)
	}
	result, err := bench.Run(ctx, cfg)
	done()
	if result != nil && len(result.Cells)+len(result.Probes) > 0 {
		err = errors.Join(err, write(cmd.OutOrStdout(), result))
	}
	return Failed(ctx, err)
}

// clusterOf is the etcd that the flags name, or one of our own, of so many members. members is nil if it is not ours to kill.
func clusterOf(g *app.Globals, ctx context.Context, n int, stderr io.Writer) (config clientv3.Config, members takeover.Cluster, end func(), err error) {
	if n == 1 {
		cluster, err := openCluster(g, ctx, stderr)
		if err != nil {
			return config, nil, nil, err
		}
		if cluster.own == nil {
			fmt.Fprintf(stderr, "Measuring the etcd at %s.\n", strings.Join(cluster.config.Endpoints, ","))
		}
		return cluster.config, nil, cluster.close, nil
	}
	c, err := startMembers(ctx, n)
	if err != nil {
		return config, nil, nil, Failed(ctx, err)
	}
	fmt.Fprintf(stderr, "Started an etcd of %d members at %s.\n", n, strings.Join(c.config.Endpoints, ","))
	return c.config, c, c.close, nil
}

// defaultKills is of the tour: three at once take as long as one.
const defaultKills = 3

// notYet is the cluster of a run before it is started.
type notYet struct{ takeover.Cluster }

// Failed adds the exit code.
func Failed(ctx context.Context, err error) error {
	var unsafe *bench.SafetyError
	var signal *app.SignalError
	switch {
	case err == nil || errors.As(err, &unsafe):
		return err
	case errors.As(context.Cause(ctx), &signal):
		return &app.ExitError{Code: app.ExitSignal + int(signal.Signal), Err: err}
	case errors.Is(err, bench.ErrUnreachable):
		return app.UnavailableErrorf("%w", err)
	}
	return err
}
