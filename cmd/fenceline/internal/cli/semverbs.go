package cli

import (
	clientv3 "go.etcd.io/etcd/client/v3"

	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/internal/show"
	"github.com/fenceline/fenceline/semaphore"
)

func newSemResizeCommand(g *globals) *cobra.Command {
	namespace := ""
	cmd := &cobra.Command{
		Use:   "resize NAME N",
		Short: "Change the limit of a semaphore for everyone",
		Long: `Change the limit of a semaphore for everyone, also for those who wait. A larger one lets them in at once. A smaller one
takes units from nobody: others wait until enough came back. Commands that name the old --limit fail from then on. A NAME
that nobody has used gets the limit, as if somebody had.

Exit codes: 0; 64 wrong command line; 69 etcd cannot be reached, or refuses.`,
		Args: takes("NAME", "N"),
		RunE: func(cmd *cobra.Command, args []string) error {
			limit, err := strconv.ParseInt(args[1], 10, 64)
			if err != nil || limit < 1 {
				return usageErrorf("N %q: it must be a whole number, at least 1", args[1])
			}
			if err := checkNamed(semaphoreKind, args[0], namespace); err != nil {
				return err
			}
			what := fmt.Sprintf("semaphore %q", args[0])
			return inSession(g, cmd.Context(), namespace, what, cmd.ErrOrStderr(), func(ctx context.Context, h *holder) error {
				m, was := semaphore.New(h.session, args[0], 0), "none"
				switch status, err := m.Status(ctx); {
				case err == nil:
					was = strconv.FormatInt(status.Limit, 10)
				case !errors.Is(err, semaphore.ErrLimit): // that there is none
					return unavailableErrorf("%w", about(what, err))
				}
				if err := m.Resize(ctx, limit); err != nil {
					return unavailableErrorf("%w", about(what, err))
				}
				talk(cmd.ErrOrStderr(), "fenceline: ")("semaphore %q: the limit is %d, it was %s", args[0], limit, was)
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&namespace, "namespace", defaultNamespace, "`prefix` of all keys")
	return cmd
}

// semStatus is what is held and waited for, in units.
type semStatus struct {
	Name    string `json:"name"`
	Limit   int64  `json:"limit"`
	Held    int64  `json:"held"`
	Waiting int64  `json:"waiting"`
}

func newSemStatusCommand(g *globals) *cobra.Command {
	f := &named{kind: semaphoreKind}
	cmd := &cobra.Command{
		Use:   "status NAME",
		Short: "Show how many units of a semaphore are held and waited for",
		Long: `Show how many units of a semaphore are held and waited for. Who does is what "fenceline ls semaphore NAME" shows. After
"resize" to less, units of holders that do not fit any more count as waiting.

Exit codes: 0; 1 nobody has stored a limit yet; 64 wrong command line; 69 etcd cannot be reached, or refuses.`,
		Args: takes("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.name = args[0]
			if err := checkNamed(semaphoreKind, f.name, f.namespace); err != nil {
				return err
			}
			return g.ask(cmd.Context(), func(ctx context.Context, client *clientv3.Client) error {
				found, err := inspect.Read(ctx, client, f.options()...)
				if err != nil {
					return err
				}
				status, ok := statusOf(found, f.name)
				if !ok {
					return &ExitError{Code: exitFailure, Err: fmt.Errorf("semaphore %q: nobody has stored a limit yet", f.name)}
				}
				t := &table{header: []string{"NAME", "LIMIT", "HELD", "WAITING"}}
				t.add(show.Printable(status.Name), fmt.Sprint(status.Limit), fmt.Sprint(status.Held), fmt.Sprint(status.Waiting))
				return g.print(cmd.OutOrStdout(), status, t)
			})
		},
	}
	cmd.Flags().StringVar(&f.namespace, "namespace", defaultNamespace, "`prefix` of all keys")
	return cmd
}

func statusOf(found *inspect.Snapshot, name string) (status semStatus, ok bool) {
	limit, ok := found.Limit(name)
	status = semStatus{Name: name, Limit: limit}
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
