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

func NewWhoCommand(g *app.Globals) *cobra.Command {
	n := &app.Named{}
	cmd := &cobra.Command{
		Use:                   "who [flags] [KIND] NAME",
		DisableFlagsInUseLine: true,
		Short:                 "Say in one line who holds a name",
		Long: `Say in one line who holds NAME: since when, for how long its lease lives if nobody renews it, and how many wait. KIND is
needed if several kinds of things have that name.

Exit codes: 0 somebody holds it; 1 nobody does; 64 wrong command line; 69 etcd cannot be reached, or refuses.`,
		Example: `  fenceline who nightly-backup
  fenceline who election scheduler -o json`,
		ValidArgsFunction: app.CompleteLs(g, &n.Namespace),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := n.Parse(args); err != nil {
				return err
			}
			return g.Ask(cmd.Context(), func(ctx context.Context, client *clientv3.Client) error {
				l, err := n.Read(ctx, client)
				if err != nil {
					return err
				}
				if l == nil {
					return &app.ExitError{Code: app.ExitFailure, Err: fmt.Errorf("nobody holds %s", n.What())}
				}
				return printWho(g, ctx, cmd, client, l)
			})
		},
	}
	n.AddFlags(cmd)
	return cmd
}

// whoSays is what is printed as JSON.
type whoSays struct {
	*inspect.Line
	LeaseLeft float64 `json:"lease_left_seconds"` // of the first holder; negative: it has none, or it does not live
}

func printWho(g *app.Globals, ctx context.Context, cmd *cobra.Command, client *clientv3.Client, l *inspect.Line) error {
	first := &l.Entries[0]
	left, err := inspect.LeaseLeft(ctx, client, first)
	if err != nil {
		return err
	}
	holds, waits := 0, 0
	for _, e := range l.Entries {
		if e.State == inspect.Waits {
			waits++
		} else {
			holds++
		}
	}
	if g.Output == app.OutputJSON {
		return g.Print(cmd.OutOrStdout(), whoSays{l, left.Seconds()}, nil)
	}
	text := fmt.Sprintf("%s %s: %s", l.Kind, show.Printable(l.Name), show.Printable(cmp.Or(first.Who(), first.State)))
	if since := first.Since(); !since.IsZero() {
		text += fmt.Sprintf(", %s for %v", first.State, time.Since(since).Round(time.Second))
	} else if first.State != "" {
		text += ", " + first.State
	}
	switch {
	case first.Lease == "":
		text += ", without a lease: it stays until somebody deletes it"
	case left < 0:
		text += ", its lease is gone"
	default:
		text += fmt.Sprintf(", lease for %v", left)
	}
	if holds > 1 {
		text += fmt.Sprintf(", and %d more hold", holds-1)
	}
	if waits > 0 {
		text += fmt.Sprintf(", %d wait", waits)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s, token %v\n", text, first.Token)
	if holds == 0 {
		return &app.ExitError{Code: app.ExitFailure}
	}
	return nil
}
