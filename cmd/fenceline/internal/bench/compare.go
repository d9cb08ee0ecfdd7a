package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/compare"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
)

func newBenchCompareCommand(g *app.Globals) *cobra.Command {
	var limits string
	shown := []string{"rate", "p50", "p99", compare.Probes}
	cmd := &cobra.Command{
		Use:   "compare [flags] OLD.json NEW.json",
		Short: "Compare two results; fail if the new one is too much worse",
		Long: `Compare two results of "fenceline bench -o json", and those of its subcommands but idle. A cell or subject that
is in one of them only is named, and is no failure; that nothing at all can be compared, or nothing for one of the limits, is
one. If the runs differ in their settings, or one was interrupted, that is said. Limits belong above what two runs of the same thing differ by on the
machine at hand; for statistics over rounds there is benchstat, see "fenceline bench --help".

Measures: rate (acquisitions per second), p50, p90, p99, max (of an acquire), hand-over-p50, hand-over-p99, wait (the
longest), jain, short (short-term fairness), starved, and proposals, reads, events, bytes, cpu (of the client) per acquisition; and
probes, the medians and values of all that is measured besides turns. More is better of rate, jain and short, less of all others.

Exit codes: 0; 1 something is worse by more than --max-regression allows, or cannot be compared, or a file is no such
result; 64 wrong command line.`,
		Example: `  fenceline bench -o json > old.json; …; fenceline bench -o json > new.json
  fenceline bench compare old.json new.json --max-regression p99=20%,rate=10%`,
		Args: app.Takes("OLD.json", "NEW.json"),
		RunE: func(cmd *cobra.Command, args []string) error {
			allowed := compare.Limits{}
			if cmd.Flags().Changed("max-regression") {
				var err error
				if allowed, err = compare.ParseLimits(limits); err != nil {
					return app.UsageErrorf("--max-regression: %w", err)
				}
			}
			for _, name := range shown {
				if !slices.Contains(compare.Names(), name) {
					return app.UsageErrorf("--show %q: it is none of %s", name, strings.Join(compare.Names(), ", "))
				}
			}
			before, err := readResult(args[0])
			if err != nil {
				return err
			}
			after, err := readResult(args[1])
			if err != nil {
				return err
			}
			c := compare.Results(before, after, shown, allowed)
			say := app.Talk(cmd.ErrOrStderr(), "fenceline: ")
			for what, names := range map[string][]string{args[0]: c.Missing, args[1]: c.Added} {
				if len(names) > 0 {
					say("only in %s: %s", what, strings.Join(names, ", "))
				}
			}
			for _, what := range c.Unlike {
				say("the runs differ in more than what was measured: %s", what)
			}
			if err := g.Print(cmd.OutOrStdout(), c, compareTable(c)); err != nil {
				return err
			}
			if n := c.Regressions(); n > 0 {
				return &app.ExitError{Code: app.ExitFailure, Err: fmt.Errorf("worse than --max-regression %s allows: %d of %d", limits, n, len(c.Changes))}
			}
			switch {
			case len(c.Unchecked) > 0:
				return &app.ExitError{Code: app.ExitFailure, Err: fmt.Errorf("--max-regression: nothing in both files to compare for %s", strings.Join(c.Unchecked, ", "))}
			case len(c.Changes) == 0:
				return &app.ExitError{Code: app.ExitFailure, Err: errors.New("nothing to compare: the files have no cell and subject in common, or none of the measures")}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&limits, "max-regression", "", "`limits` of how much worse each measure may be, as in p99=10%,rate=5%")
	cmd.Flags().StringSliceVar(&shown, "show", shown, "`measures` to show besides those")
	return cmd
}

func readResult(path string) (*bench.Result, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := new(bench.Result)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s: it is no result of the benchmark in JSON: %w", path, err)
	}
	if r.Schema != bench.Schema {
		return nil, fmt.Errorf("%s: its schema is %q, want %q", path, r.Schema, bench.Schema)
	}
	return r, nil
}

func compareTable(c *compare.Comparison) *app.Table {
	t := &app.Table{Header: []string{"CELL", "SUBJECT", "MEASURE", "OLD", "NEW", "CHANGE", ""}}
	for _, change := range c.Changes {
		show := func(value float64) string {
			if change.Time() {
				d := time.Duration(value)
				return d.Round(max(d/1000, 1)).String()
			}
			return fmt.Sprintf("%.4g", value)
		}
		delta, verdict := "", ""
		if change.Old != 0 {
			delta = fmt.Sprintf("%+.1f %%", 100*(change.New-change.Old)/change.Old)
		}
		switch {
		case change.TooFar && change.Within():
			verdict = "too far, though rounds of one run differ as much"
		case change.TooFar:
			verdict = "too far"
		case change.Within():
			verdict = "within the noise"
		}
		t.Add(change.Cell, change.Subject, change.Measure, show(change.Old), show(change.New), delta, verdict)
	}
	return t
}
