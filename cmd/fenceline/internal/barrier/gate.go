package barrier

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/barrier"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/underhold"
	"github.com/fenceline/fenceline/inspect"
)

func NewGateCommand(g *app.Globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "gate",
		Short: "Close a gate, wait at it, open it for everyone",
		Long: `Close a gate, wait at it, open it for everyone. A gate that nobody has closed is open, and a closed one stays closed
until somebody opens it: also when who has closed it is gone.`,
		Example: `  fenceline gate close maintenance
  fenceline gate wait maintenance -w 10m && ./work
  fenceline gate open maintenance`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return app.UsageErrorf("what to do is missing: open, close or wait")
			}
			return app.UsageErrorf("%q: it is none of open, close, wait", args[0])
		},
	}
	cmd.AddCommand(
		newGateVerb(g, "open", "Open a gate: all who wait go through, and all who come", func(ctx context.Context, gate *barrier.Gate) error { return gate.Open(ctx) }),
		newGateVerb(g, "close", "Close a gate, until somebody opens it", func(ctx context.Context, gate *barrier.Gate) error { return gate.Close(ctx) }),
		newGateWaitCommand(g),
	)
	return cmd
}

const gateExits = `

Exit codes: 0; 64 wrong command line; 69 etcd cannot be reached, or refuses.`

func newGateVerb(g *app.Globals, verb, short string, do func(context.Context, *barrier.Gate) error) *cobra.Command {
	namespace := ""
	cmd := &cobra.Command{
		Use:   verb + " NAME",
		Short: short,
		Long:  short + "." + gateExits,
		Args:  app.Takes("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return atGate(g, cmd, namespace, args[0], func(ctx context.Context, _ *underhold.Holder, gate *barrier.Gate) error {
				if err := do(ctx, gate); err != nil {
					return app.UnavailableErrorf("%w", app.About(fmt.Sprintf("gate %q", args[0]), err))
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&namespace, "namespace", app.DefaultNamespace, "`prefix` of all keys")
	return cmd
}

func newGateWaitCommand(g *app.Globals) *cobra.Command {
	f, namespace := &underhold.WaitFlags{}, ""
	cmd := &cobra.Command{
		Use:   "wait NAME",
		Short: "Wait until a gate is open",
		Long: `Wait until a gate is open. It ends with 0 only if the gate was seen open.

Exit codes: 0 it was open; 1 not in time (-w), see -E, --skip-ok; 64 wrong command line; 69 etcd cannot be reached, or
refuses; 130, 143 interrupted by SIGINT, SIGTERM.`,
		Args: app.Takes("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.Check(cmd.Flags().Changed); err != nil {
				return err
			}
			return atGate(g, cmd, namespace, args[0], func(ctx context.Context, h *underhold.Holder, gate *barrier.Gate) error {
				closedBy := func(ctx context.Context) string {
					l, err := underhold.FrontOf(ctx, h.Client, &app.Named{Namespace: namespace, Kind: app.GateKind, Name: args[0]})
					if err != nil {
						return ""
					}
					return underhold.InTheWay(l, clientv3.NoLease, "")
				}
				return f.Waits(ctx, h, fmt.Sprintf("gate %q", args[0]), gate.Wait, closedBy, func(ctx context.Context) (bool, error) {
					ctx, cancel := context.WithTimeout(ctx, g.Connection.CommandTimeout)
					defer cancel()
					l, err := inspect.Front(ctx, h.Client, inspect.Gate, args[0], inspect.WithNamespace(namespace))
					if err != nil {
						return false, fmt.Errorf("gate %q: %w", args[0], err)
					}
					return len(l.Entries) == 0, nil
				})
			})
		},
	}
	cmd.Flags().StringVar(&namespace, "namespace", app.DefaultNamespace, "`prefix` of all keys")
	f.AddTo(cmd.Flags(), "the gate was not open in time")
	return cmd
}

func atGate(g *app.Globals, cmd *cobra.Command, namespace, name string, do func(context.Context, *underhold.Holder, *barrier.Gate) error) error {
	if err := app.CheckNamed(app.GateKind, name, namespace); err != nil {
		return err
	}
	return underhold.InSession(g, cmd.Context(), namespace, fmt.Sprintf("gate %q", name), cmd.ErrOrStderr(), func(ctx context.Context, h *underhold.Holder) error {
		return do(ctx, h, barrier.NewGate(h.Session, name))
	})
}
