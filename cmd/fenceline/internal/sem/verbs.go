package sem

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/underhold"
	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/internal/show"
	"github.com/fenceline/fenceline/semaphore"
)

func newSemResizeCommand(g *app.Globals) *cobra.Command {
	namespace := ""
	cmd := &cobra.Command{
		Use:   "resize NAME N",
		Short: "Change the limit of a semaphore for everyone",
		Long: `Change the limit of a semaphore for everyone, also for those who wait. A larger one lets them in at once. A smaller one
takes units from nobody: others wait until enough came back. Commands that name the old --limit fail from then on. A NAME
that nobody has used gets the limit, as if somebody had.

Exit codes: 0; 64 wrong command line; 69 etcd cannot be reached, or refuses.`,
		Args: app.Takes("NAME", "N"),
		RunE: func(cmd *cobra.Command, args []string) error {
			limit, err := strconv.ParseInt(args[1], 10, 64)
			if err != nil || limit < 1 {
				return app.UsageErrorf("N %q: it must be a whole number, at least 1", args[1])
			}
			if err := app.CheckNamed(app.SemaphoreKind, args[0], namespace); err != nil {
				return err
			}
			what := fmt.Sprintf("semaphore %q", args[0])
			return underhold.InSession(g, cmd.Context(), namespace, what, cmd.ErrOrStderr(), func(ctx context.Context, h *underhold.Holder) error {
				m, was := semaphore.New(h.Session, args[0], 0), "none"
				switch status, err := m.Status(ctx); {
				case err == nil:
					was = strconv.FormatInt(status.Limit, 10)
				case !errors.Is(err, semaphore.ErrLimit): // that there is none
					return app.UnavailableErrorf("%w", app.About(what, err))
				}
				if err := m.Resize(ctx, limit); err != nil {
					return app.UnavailableErrorf("%w", app.About(what, err))
				}
				app.Talk(cmd.ErrOrStderr(), "fenceline: ")("semaphore %q: the limit is %d, it was %s", args[0], limit, was)
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&namespace, "namespace", app.DefaultNamespace, "`prefix` of all keys")
	return cmd
}

// Status is what is held and waited for, in units.
type Status struct {
	Name    string `json:"name"`
	Limit   int64  `json:"limit"`
	Held    int64  `json:"held"`
	Waiting int64  `json:"waiting"`
}

func newSemStatusCommand(g *app.Globals) *cobra.Command {
	f := &app.Named{Kind: app.SemaphoreKind}
	cmd := &cobra.Command{
		Use:   "status NAME",
		Short: "Show how many units of a semaphore are held and waited for",
		Long: `Show how many units of a semaphore are held and waited for. Who does is what "fenceline ls semaphore NAME" shows. After
"resize" to less, units of holders that do not fit any more count as waiting.

Exit codes: 0; 1 nobody has stored a limit yet; 64 wrong command line; 69 etcd cannot be reached, or refuses.`,
		Args: app.Takes("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.Name = args[0]
			if err := app.CheckNamed(app.SemaphoreKind, f.Name, f.Namespace); err != nil {
				return err
			}
			return g.Ask(cmd.Context(), func(ctx context.Context, client *clientv3.Client) error {
				found, err := inspect.Read(ctx, client, f.Options()...)
				if err != nil {
					return err
				}
				status, ok := statusOf(found, f.Name)
				if !ok {
					return &app.ExitError{Code: app.ExitFailure, Err: fmt.Errorf("semaphore %q: nobody has stored a limit yet", f.Name)}
				}
				t := &app.Table{Header: []string{"NAME", "LIMIT", "HELD", "WAITING"}}
				t.Add(show.Printable(status.Name), fmt.Sprint(status.Limit), fmt.Sprint(status.Held), fmt.Sprint(status.Waiting))
				return g.Print(cmd.OutOrStdout(), status, t)
			})
		},
	}
	cmd.Flags().StringVar(&f.Namespace, "namespace", app.DefaultNamespace, "`prefix` of all keys")
	return cmd
}

func statusOf(found *inspect.Snapshot, name string) (status Status, ok bool) {
	limit, ok := found.Limit(name)
	status = Status{Name: name, Limit: limit}
	for _, l := range found.Lines {
		for _, e := range l.Entries {
			if e.State == inspect.Holds {
				status.Held += e.Units
			} else {
				status.Waiting += e.Units
			}
		}
	}
	return status, ok
}
