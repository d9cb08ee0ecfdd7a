package inspect

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/internal/show"
)

func NewSessionsCommand(g *app.Globals) *cobra.Command {
	namespace := ""
	cmd := &cobra.Command{
		Use:   "sessions",
		Short: "Show all processes, and what they hold",
		Long: `Show all sessions, and what each holds and waits for. A process has one, most often.

  LEASE    in hex; "etcdctl lease timetolive LEASE" says how long it lives
  STARTED  when the session began, by the clock of its process

Exit codes: 0, also when there is none; 64 wrong command line; 69 etcd cannot be reached, or refuses.`,
		Args: app.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if namespace == "" {
				return app.UsageErrorf("--namespace: it is empty")
			}
			return g.Ask(cmd.Context(), func(ctx context.Context, client *clientv3.Client) error {
				s, err := inspect.Read(ctx, client, inspect.WithNamespace(namespace))
				if err != nil {
					return err
				}
				return printSessions(g, cmd, s.Sessions)
			})
		},
	}
	cmd.Flags().StringVar(&namespace, "namespace", app.DefaultNamespace, "`prefix` of all keys")
	return cmd
}

func printSessions(g *app.Globals, cmd *cobra.Command, all []*inspect.Session) error {
	t := &app.Table{Header: []string{"NAME", "HOST", "PID", "STARTED", "LEASE", "HOLDS", "WAITS", "LABELS"}}
	var watched []string
	for _, s := range all {
		var labels []string
		for _, label := range slices.Sorted(maps.Keys(s.Labels)) {
			labels = append(labels, label+"="+s.Labels[label])
		}
		started := "-"
		if !s.Started.IsZero() {
			started = s.Started.UTC().Format(time.RFC3339)
		}
		cells := []string{s.Name, s.Host, fmt.Sprint(s.PID), started, s.Lease, few(s.Holds), few(s.Waits), strings.Join(labels, " ")}
		for i, cell := range cells {
			if cells[i] = show.Printable(cell); cell == "" {
				cells[i] = "-"
			}
		}
		t.Add(cells...)
		watched = append(watched, map[bool]string{true: "yes", false: "-"}[s.Witness != ""])
	}
	if slices.Contains(watched, "yes") {
		t.AddColumn("WITNESS", watched)
	}
	if all == nil {
		all = []*inspect.Session{}
	}
	return g.Print(cmd.OutOrStdout(), map[string]any{"sessions": all}, t)
}

// few is the first of these, and how many more there are.
func few(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
