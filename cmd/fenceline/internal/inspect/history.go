package inspect

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/internal/show"
)

func NewHistoryCommand(g *app.Globals) *cobra.Command {
	n := &app.Named{}
	cmd := &cobra.Command{
		Use:                   "history [flags] [KIND] NAME",
		DisableFlagsInUseLine: true,
		Short:                 "Show who has held a name, and how that ended",
		Long: `Show who has held NAME, the latest last: from etcd's own history, which reaches to its last compaction. KIND is "lock" unless
somebody uses NAME for something else at the moment.

  SINCE  when it was granted, by the clock of its process; who held for less than a second has not said
  FOR    how long it held, where both ends are known
  END    released; died: its lease ran out or was revoked; closed: its session was; broken: see "fenceline release"

Exit codes: 0; 1 nobody has held it, as far as etcd's history reaches; 64 wrong command line; 69 etcd cannot be reached, or refuses.`,
		Example:           `  fenceline history nightly-backup`,
		ValidArgsFunction: app.CompleteLs(g, &n.Namespace),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := n.Parse(args); err != nil {
				return err
			}
			return g.Ask(cmd.Context(), func(ctx context.Context, client *clientv3.Client) error {
				if n.Kind == "" {
					l, err := n.Read(ctx, client)
					if err != nil {
						return err
					}
					n.Kind = app.LockKind
					if l != nil {
						n.Kind = l.Kind
					}
				}
				all, err := inspect.History(ctx, client, n.Kind, n.Name, inspect.WithNamespace(n.Namespace))
				if err != nil {
					return err
				}
				if len(all) == 0 && g.Output == app.OutputTable {
					return &app.ExitError{Code: app.ExitFailure, Err: fmt.Errorf("nobody has held %s, as far as etcd's history reaches", n.What())}
				}
				return printHistory(g, cmd, all)
			})
		},
	}
	n.AddFlags(cmd)
	return cmd
}

func printHistory(g *app.Globals, cmd *cobra.Command, all []inspect.Held) error {
	t := &app.Table{Header: []string{"SINCE", "FOR", "END", "TOKEN", "WHO", "WHY"}}
	for _, h := range all {
		since, held, end, why := "-", "-", cmp.Or(h.End, "holds"), "-"
		if !h.EnteredAt.IsZero() {
			since = h.EnteredAt.UTC().Truncate(time.Second).Format(time.RFC3339)
		}
		if d := h.For(); d > 0 {
			held = d.Round(time.Second).String()
		}
		if h.Broken != nil {
			why = show.Printable(fmt.Sprintf("by %s: %s", h.Broken.By, h.Broken.Reason))
		}
		t.Add(since, held, end, h.Token.String(), show.Printable(h.Who), why)
	}
	if all == nil {
		all = []inspect.Held{}
	}
	return g.Print(cmd.OutOrStdout(), map[string]any{"held": all}, t)
}
