package inspect

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/internal/show"
)

// assertion is what has to be true of a line.
type assertion struct {
	*app.Named
	what        string // leader, held, waiting
	host, by    string // of the holder, or who waits; empty: anybody
	least, most int
}

var assertions = []string{"leader", "held", "waiting"}

func NewAssertCommand(g *app.Globals) *cobra.Command {
	a := &assertion{Named: &app.Named{}}
	cmd := &cobra.Command{
		Use:                   "assert [flags] leader|held|waiting [KIND] NAME",
		DisableFlagsInUseLine: true,
		Short:                 "Check who leads, holds or waits, by exit code",
		Long: `Check who leads, holds or waits, for health checks and scripts: it says nothing when it is so, and what is the case when it is not.

  leader   somebody leads the election NAME; with --host or --by, that one does
  held     somebody holds NAME; with --host or --by, that one is among those who do
  waiting  at least --least wait for NAME, and at most --most (default: at least 1); with --host or --by, of those

KIND is needed if several kinds of things have that name.

Exit codes: 0 it is so; 1 it is not; 64 wrong command line; 69 etcd cannot be reached, or refuses.`,
		Example: `  fenceline assert leader reports --host "$(hostname)"
  fenceline assert held lock nightly-backup
  fenceline assert waiting --most 20 orders`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.parse(cmd, args); err != nil {
				return err
			}
			return g.Ask(cmd.Context(), func(ctx context.Context, client *clientv3.Client) error {
				l, err := a.Read(ctx, client)
				if err != nil {
					return err
				}
				if why := a.check(l); why != "" {
					return &app.ExitError{Code: app.ExitFailure, Err: fmt.Errorf("%s: %s", a.Named.What(), why)}
				}
				return nil
			})
		},
	}
	a.AddFlags(cmd)
	cmd.Flags().StringVar(&a.host, "host", "", "by a process on this `host`")
	cmd.Flags().StringVar(&a.by, "by", "", "by a process that calls itself so: the `name` of its session")
	cmd.Flags().IntVar(&a.least, "least", 1, "waiting: at least so many `entries`")
	cmd.Flags().IntVar(&a.most, "most", 0, "waiting: at most so many `entries`")
	return cmd
}

func (a *assertion) parse(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return app.UsageErrorf("leader, held or waiting is missing")
	}
	a.what = args[0]
	if !slices.Contains(assertions, a.what) {
		return app.UsageErrorf("%q: it is none of %s", a.what, strings.Join(assertions, ", "))
	}
	if rest := args[1:]; a.what == "leader" && len(rest) == 1 && rest[0] != app.ElectionKind {
		args = []string{app.ElectionKind, rest[0]}
	} else {
		args = rest
	}
	if err := a.Named.Parse(args); err != nil {
		return err
	}
	if cmd.Flags().Changed("most") && !cmd.Flags().Changed("least") {
		a.least = 0
	}
	counts := cmd.Flags().Changed("least") || cmd.Flags().Changed("most")
	switch {
	case a.what == "leader" && a.Kind != app.ElectionKind && a.Prefix == "":
		return app.UsageErrorf("KIND %q: nobody leads there; did you mean \"fenceline assert held\"?", a.Kind)
	case a.what != "waiting" && counts:
		return app.UsageErrorf("--least and --most are for waiting")
	case a.least < 0 || a.most < 0:
		return app.UsageErrorf("--least and --most: they must not be negative")
	case cmd.Flags().Changed("most") && a.most < a.least:
		return app.UsageErrorf("--most %d is less than --least %d", a.most, a.least)
	}
	if !cmd.Flags().Changed("most") {
		a.most = -1
	}
	return nil
}

// check says why it is not so; empty: it is. l is nil if nobody is there.
func (a *assertion) check(l *inspect.Line) string {
	var in []string // who
	found := 0
	if l != nil {
		for i := range l.Entries {
			e := &l.Entries[i]
			waiting := e.State == inspect.Waits
			if !waiting {
				in = append(in, e.Who())
			}
			if waiting == (a.what == "waiting") && a.means(e) {
				found++
			}
		}
	}
	switch {
	case a.what == "waiting" && (found < a.least || a.most >= 0 && found > a.most):
		if a.most < 0 {
			return fmt.Sprintf("%d wait, want at least %d", found, a.least)
		}
		return fmt.Sprintf("%d wait, want %d to %d", found, a.least, a.most)
	case a.what == "waiting" || found > 0:
		return ""
	case len(in) > 0:
		return "held by " + show.Printable(strings.Join(in, ", "))
	}
	return "nobody holds it"
}

func (a *assertion) means(e *inspect.Entry) bool {
	if a.host == "" && a.by == "" {
		return true
	}
	s := e.Session
	return s != nil && (a.host == "" || s.Host == a.host) && (a.by == "" || s.Name == a.by)
}
