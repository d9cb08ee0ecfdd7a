package inspect

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/internal/etcd"
)

// confirmAfter is how long a deadlock has to last to be told: who waits with a time-out may leave it by itself.
const confirmAfter = time.Second

func NewDeadlocksCommand(g *app.Globals) *cobra.Command {
	namespace := ""
	cmd := &cobra.Command{
		Use:   "deadlocks",
		Short: "Show who waits for each other in circles",
		Long: `Show who waits for each other in circles, over all locks, read-write locks, elections and semaphores. All is read at one
revision, and once more a second later: what is shown was there both times.

A deadlock is among owners: the functions of Do and Lead have one, and what calls session.WithOwner. Others are told apart by their
session, and then a deadlock is only possible: several goroutines of one process may wait and hold without waiting for each
other. An owner is known once it has waited, or held, for a second.

"fenceline release NAME --force" ends one of the holds.

Exit codes: 0 there is none; 1 there is one; 64 wrong command line; 69 etcd cannot be reached, or refuses.`,
		Args: app.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if namespace == "" {
				return app.UsageErrorf("--namespace: it is empty")
			}
			return g.Ask(cmd.Context(), func(ctx context.Context, client *clientv3.Client) error {
				found, err := confirmed(ctx, client, namespace)
				if err != nil {
					return err
				}
				if g.Output == app.OutputJSON {
					err = g.Print(cmd.OutOrStdout(), map[string]any{"deadlocks": append([]inspect.Deadlock{}, found...)}, nil)
				}
				for _, d := range found {
					if g.Output == app.OutputTable {
						fmt.Fprint(cmd.OutOrStdout(), d)
					}
				}
				switch {
				case err != nil:
					return err
				case len(found) > 0:
					return &app.ExitError{Code: app.ExitFailure}
				case g.Output == app.OutputTable:
					fmt.Fprintln(cmd.ErrOrStderr(), "fenceline: no deadlock")
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&namespace, "namespace", app.DefaultNamespace, "`prefix` of all keys")
	return cmd
}

func confirmed(ctx context.Context, client *clientv3.Client, namespace string) ([]inspect.Deadlock, error) {
	first, err := inspect.Read(ctx, client, inspect.WithNamespace(namespace))
	if err != nil {
		return nil, err
	}
	before := first.Deadlocks()
	if len(before) == 0 || !etcd.Sleep(ctx, confirmAfter) {
		return nil, ctx.Err()
	}
	second, err := inspect.Read(ctx, client, inspect.WithNamespace(namespace))
	if err != nil {
		return nil, err
	}
	return second.Confirmed(before), nil
}
