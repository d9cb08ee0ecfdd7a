package cron

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/cron"
	"github.com/fenceline/fenceline/internal/show"
)

// ShownJob is a job as -o json has it.
type ShownJob struct {
	Name     string      `json:"name"`
	Schedule string      `json:"schedule"`
	Zone     string      `json:"zone"`
	Last     time.Time   `json:"last,omitzero"` // the latest tick that was started
	By       string      `json:"by,omitempty"`  // who has started it
	Next     time.Time   `json:"next,omitzero"` // missing for a schedule or zone that is unknown here
	Ready    []string    `json:"ready"`         // the processes that wait for its ticks
	Paused   *cron.Pause `json:"paused,omitempty"`
	Overdue  bool        `json:"overdue,omitempty"` // a tick should have been run by now
	Asked    bool        `json:"asked,omitempty"`   // for a run beside the schedule, which has not begun
	Running  int         `json:"running"`           // ticks
	Waiting  int         `json:"waiting"`           // ticks that wait for another attempt
	Latest   *cron.Run   `json:"latest"`            // the run that ended last
	Error    string      `json:"error,omitempty"`   // why its record cannot be read: all else but the name is empty
}

func newCronLsCommand(g *app.Globals) *cobra.Command {
	namespace := ""
	cmd := &cobra.Command{
		Use:                   "ls [flags]",
		DisableFlagsInUseLine: true,
		Args:                  cobra.NoArgs,
		Short:                 "Show all jobs that have ever run, or that a process has",
		Long: `Show all jobs that have ever run, or that a process has, by name. 'fenceline cron rm NAME' deletes what etcd has of one.

  SCHEDULE  as whoever ran the latest tick has it
  LAST      time of the latest tick that was started
  NEXT      of the next one, if anybody is there to run it
  READY     how many processes wait for the job's ticks; -o json names them
  BY        who has started the latest
  RESULT    running; paused; overdue, if a tick should have been run by now; waits, for another attempt; else how the run that ended last did: ok, or why it failed; or how many
            ticks up to then were missed; or why nobody runs it

Exit codes: 0, also when there are none; 64 wrong command line; 69 etcd cannot be reached, or refuses.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if namespace == "" {
				return app.UsageErrorf("--namespace: it is empty")
			}
			var jobs []cron.Job
			err := g.Ask(cmd.Context(), func(ctx context.Context, client *clientv3.Client) (err error) {
				jobs, err = cron.List(ctx, client, cron.WithNamespace(namespace))
				return err
			})
			if err != nil {
				return err
			}
			if len(jobs) == 0 && g.Output == app.OutputTable {
				fmt.Fprintf(cmd.ErrOrStderr(), "fenceline: no job has run under %q\n", namespace+app.CronKind+"/")
				return nil
			}
			return printJobs(g, cmd.OutOrStdout(), jobs)
		},
	}
	cmd.Flags().StringVar(&namespace, "namespace", app.DefaultNamespace, "`prefix` of all keys")
	return cmd
}

func printJobs(g *app.Globals, w io.Writer, jobs []cron.Job) error {
	t := &app.Table{Header: []string{"JOB", "SCHEDULE", "ZONE", "LAST", "NEXT", "READY", "BY", "RESULT"}}
	all := make([]ShownJob, 0, len(jobs)) // in JSON, none is not null
	for _, j := range jobs {
		s := ShownJob{Name: j.Name, Schedule: j.Schedule, Zone: j.Zone, Last: j.Last, By: j.By, Next: j.Next, Running: j.Running,
			Ready: append([]string{}, j.Ready...), Paused: j.Paused, Overdue: j.Overdue, Asked: j.Asked, Waiting: j.Waiting, Latest: j.Latest}
		if j.Err != nil {
			s.Error = j.Err.Error()
		}
		all = append(all, s)
		t.Add(cells(j.Name, j.Schedule, j.Zone, clock(j.Last), clock(j.Next), fmt.Sprint(len(j.Ready)), j.By, resultOf(j))...)
	}
	return g.PrintEscaped(w, map[string]any{"jobs": all}, t)
}

func resultOf(j cron.Job) string {
	switch {
	case j.Err != nil:
		return j.Err.Error()
	case j.Running > 0 && j.Paused != nil:
		return "running; paused by " + j.Paused.By
	case j.Running > 0:
		return "running"
	case j.Paused != nil:
		return "paused by " + j.Paused.By
	case j.Asked:
		return "to be run now"
	case j.Overdue:
		return "overdue"
	case j.Waiting > 0:
		return "waits"
	case j.Latest == nil:
		return ""
	}
	return outcome(*j.Latest)
}

func outcome(r cron.Run) string {
	switch {
	case r.Err == "":
		return "ok"
	case r.Missed > 0:
		return fmt.Sprintf("missed: %d", r.Missed)
	}
	return "failed: " + show.Shorten(r.Err)
}

func newCronHistoryCommand(g *app.Globals) *cobra.Command {
	namespace := ""
	cmd := &cobra.Command{
		Use:                   "history [flags] NAME",
		DisableFlagsInUseLine: true,
		Short:                 "Show the last runs of a job that have ended",
		Long: `Show the last 20 runs of the job NAME that have ended, the oldest first.

  SCHEDULED  time of the tick
  ATTEMPT    1, and one more with each retry
  STARTED    by the clock of whoever ran it
  TOOK       - if that lost its claim, and nobody knows
  RESULT     ok, or why it failed; missed: N says that nobody ran that tick and the N-1 before it

Exit codes: 0, also when there are none; 64 wrong command line; 69 etcd cannot be reached, or refuses.`,
		ValidArgsFunction: app.CompleteName(g, &namespace, func() string { return app.CronKind }, cobra.ShellCompDirectiveNoFileComp),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneJob(args, namespace); err != nil {
				return err
			}
			runs := []cron.Run{}
			err := g.Ask(cmd.Context(), func(ctx context.Context, client *clientv3.Client) error {
				found, err := cron.History(ctx, client, args[0], cron.WithNamespace(namespace))
				runs = append(runs, found...)
				return err
			})
			if err != nil {
				return err
			}
			if len(runs) == 0 && g.Output == app.OutputTable {
				fmt.Fprintf(cmd.ErrOrStderr(), "fenceline: no run of job %q has ended\n", args[0])
				return nil
			}
			return printRuns(g, cmd.OutOrStdout(), args[0], runs)
		},
	}
	cmd.Flags().StringVar(&namespace, "namespace", app.DefaultNamespace, "`prefix` of all keys")
	return cmd
}

func printRuns(g *app.Globals, w io.Writer, job string, runs []cron.Run) error {
	t := &app.Table{Header: []string{"SCHEDULED", "ATTEMPT", "STARTED", "TOOK", "BY", "RESULT"}}
	for _, r := range runs {
		took := ""
		if !r.Finished.IsZero() && !r.Started.IsZero() {
			took = r.Finished.Sub(r.Started).Round(time.Millisecond).String()
		}
		t.Add(cells(clock(r.Scheduled), fmt.Sprint(r.Attempt), clock(r.Started), took, r.By, outcome(r))...)
	}
	return g.PrintEscaped(w, map[string]any{"job": job, "runs": runs}, t)
}

func clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// cells are what a terminal may be shown.
func cells(texts ...string) []string {
	for i, text := range texts {
		texts[i] = cmp.Or(show.Printable(text), "-")
	}
	return texts
}
