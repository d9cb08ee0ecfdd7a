package inspect

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/barrier"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/cron"
	"github.com/fenceline/fenceline/semaphore"
)

// lasting is a kind of which something stays in etcd when nobody uses it.
type lasting struct {
	kind, loses string // what is lost with it
	forget      func(ctx context.Context, client *clientv3.Client, name, namespace string) error
}

var lastings = []lasting{
	{app.CronKind, "its last tick, its history, and that it is paused", func(ctx context.Context, client *clientv3.Client, name, namespace string) error {
		return cron.ForgetJob(ctx, client, name, cron.WithNamespace(namespace))
	}},
	{app.SemaphoreKind, "its limit", func(ctx context.Context, client *clientv3.Client, name, namespace string) error {
		return semaphore.Forget(ctx, client, name, semaphore.WithNamespace(namespace))
	}},
	{app.BarrierKind, "the number of its last round", func(ctx context.Context, client *clientv3.Client, name, namespace string) error {
		return barrier.Forget(ctx, client, name, barrier.WithNamespace(namespace))
	}},
	{app.GateKind, "that it is closed: it opens", func(ctx context.Context, client *clientv3.Client, name, namespace string) error {
		return barrier.ForgetGate(ctx, client, name, barrier.WithNamespace(namespace))
	}},
	{app.LatchKind, "what was counted, and that it is open", func(ctx context.Context, client *clientv3.Client, name, namespace string) error {
		return barrier.ForgetLatch(ctx, client, name, barrier.WithNamespace(namespace))
	}},
}

func NewRmCommand(g *app.Globals) *cobra.Command {
	namespace, yes := "", false
	cmd := &cobra.Command{
		Use:                   "rm [flags] KIND NAME",
		DisableFlagsInUseLine: true,
		Short:                 "Delete what etcd keeps of something that nobody uses",
		Long: `Delete what etcd keeps of NAME without a lease, so that it would stay for ever. KIND is one of:

  cron       a job: its last tick, its history, and that it is paused
  semaphore  its limit
  barrier    the number of its last round
  gate       that it is closed: it opens
  latch      what was counted, and that it is open

Nothing is deleted while somebody uses it: while the job runs, while units are held or waited for, while a party is in the barrier.
Who waits at a gate or a latch cannot be seen, and goes on waiting. Locks and elections leave nothing: "fenceline release" ends a hold.

On a terminal it asks first; elsewhere it needs --yes.

Exit codes: 0 deleted; 1 it is in use, there is nothing, or the answer was no; 64 wrong command line; 69 etcd cannot be reached, or
refuses.`,
		Example: `  fenceline rm latch migration-42
  fenceline rm semaphore uploads --yes`,
		Args: app.Takes("KIND", "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, name := args[0], args[1]
			what, err := lastingOf(kind)
			if err != nil {
				return err
			}
			if err := app.CheckNamed(kind, name, namespace); err != nil {
				return err
			}
			if !yes {
				if err := agreed(cmd.InOrStdin(), cmd.ErrOrStderr(), fmt.Sprintf("%s %q: delete %s?", kind, name, what.loses)); err != nil {
					return err
				}
			}
			var refused error
			err = g.Ask(cmd.Context(), func(ctx context.Context, client *clientv3.Client) error {
				err := what.forget(ctx, client, name, namespace)
				for _, is := range []error{cron.ErrRunning, cron.ErrUnknown, barrier.ErrInUse, barrier.ErrUnknown, semaphore.ErrInUse, semaphore.ErrUnknown} {
					if errors.Is(err, is) {
						refused, err = is, nil
					}
				}
				return err
			})
			switch {
			case err != nil:
				return err
			case refused != nil:
				return &app.ExitError{Code: app.ExitFailure, Err: fmt.Errorf("%s %q: nothing deleted: %w", kind, name, refused)}
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "fenceline: %s %q: deleted %s\n", kind, name, what.loses)
			return nil
		},
	}
	cmd.Flags().StringVar(&namespace, "namespace", app.DefaultNamespace, "`prefix` of all keys")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func lastingOf(kind string) (lasting, error) {
	var names []string
	for _, l := range lastings {
		if names = append(names, l.kind); l.kind == kind {
			return l, nil
		}
	}
	if slices.Contains(app.Kinds, kind) {
		return lasting{}, app.UsageErrorf("KIND %q: nothing of it stays; \"fenceline release\" ends a hold", kind)
	}
	return lasting{}, app.UsageErrorf("KIND %q: it is none of %s", kind, strings.Join(names, ", "))
}

// agreed asks on a terminal whether something may be done.
func agreed(stdin io.Reader, stderr io.Writer, question string) error {
	if !app.IsTerminal(stdin) {
		return app.UsageErrorf("--yes is missing: there is no terminal to ask on")
	}
	fmt.Fprintf(stderr, "%s [y/N] ", question)
	answer, _ := bufio.NewReader(stdin).ReadString('\n') // the end of input is a no
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return &app.ExitError{Code: app.ExitFailure, Err: errors.New("nothing deleted")}
}
