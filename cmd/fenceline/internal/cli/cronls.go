package cli

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/cron"
	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/session"
)

const cronKind = "cron"

// shownJob is a job as -o json has it.
type shownJob struct {
	Name     string    `json:"name"`
	Schedule string    `json:"schedule"`
	Zone     string    `json:"zone"`
	Last     time.Time `json:"last,omitzero"` // the latest tick that was started
	By       string    `json:"by,omitempty"`  // who has started it
	Next     time.Time `json:"next,omitzero"` // missing for a schedule or zone that is unknown here
	Running  int       `json:"running"`       // ticks
	Waiting  int       `json:"waiting"`       // ticks that wait for another attempt
	Latest   *cron.Run `json:"latest"`        // the run that ended last
}

func newCronLsCommand(g *globals) *cobra.Command {
	namespace := ""
	cmd := &cobra.Command{
		Use:                   "ls [flags]",
		DisableFlagsInUseLine: true,
		Args:                  cobra.NoArgs,
		Short:                 "Show all jobs that have ever run",
		Long: `Show all jobs that have ever run, by name. They stay until somebody deletes their keys.

  SCHEDULE  as whoever ran the latest tick has it
  LAST      time of the latest tick that was started
  NEXT      of the next one, if anybody is there to run it
  BY        who has started the latest
  RESULT    running; waits, for another attempt; else how the run that ended last did: ok, or why it failed

Exit codes: 0, also when there are none; 64 wrong command line; 69 etcd cannot be reached, or refuses.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if namespace == "" {
				return usageErrorf("--namespace: it is empty")
			}
			var jobs []cron.Job
			err := g.ask(cmd.Context(), func(ctx context.Context, client *clientv3.Client) (err error) {
				jobs, err = cron.List(ctx, client, cron.InNamespace(namespace))
				return err
			})
			if err != nil {
				return err
			}
			if len(jobs) == 0 && g.output == outputTable {
				fmt.Fprintf(cmd.ErrOrStderr(), "fenceline: no job has run under %q\n", namespace+cronKind+"/")
				return nil
			}
			return g.printJobs(cmd.OutOrStdout(), jobs)
		},
	}
	cmd.Flags().StringVar(&namespace, "namespace", defaultNamespace, "`prefix` of all keys")
	return cmd
}

// ask asks something of etcd, within --command-timeout, if it is there.
func (g *globals) ask(ctx context.Context, question func(context.Context, *clientv3.Client) error) error {
	client, err := g.connect(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := g.ping(ctx, client); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, g.connection.commandTimeout)
	defer cancel()
	if err := question(ctx, client); err != nil {
		return unavailableErrorf("%w", err)
	}
	return nil
}

func (g *globals) printJobs(w io.Writer, jobs []cron.Job) error {
	t := &table{header: []string{"JOB", "SCHEDULE", "ZONE", "LAST", "NEXT", "BY", "RESULT"}}
	all := make([]shownJob, 0, len(jobs)) // in JSON, none is not null
	for _, j := range jobs {
		all = append(all, shownJob(j))
		t.add(cells(j.Name, j.Schedule, j.Zone, clock(j.Last), clock(j.Next), j.By, resultOf(j))...)
	}
	return g.printEscaped(w, all, t)
}

func resultOf(j cron.Job) string {
	switch {
	case j.Running > 0:
		return "running"
	case j.Waiting > 0:
		return "waits"
	case j.Latest == nil:
		return ""
	}
	return outcome(*j.Latest)
}

func outcome(r cron.Run) string {
	if r.Err == "" {
		return "ok"
	}
	return "failed: " + shorten(r.Err)
}

func newCronHistoryCommand(g *globals) *cobra.Command {
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

Exit codes: 0, also when there are none; 64 wrong command line; 69 etcd cannot be reached, or refuses.`,
		ValidArgsFunction: completeName(g, &namespace, func() string { return cronKind }, cobra.ShellCompDirectiveNoFileComp),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return usageErrorf("NAME is missing")
			case len(args) > 1:
				return usageErrorf("%q: one NAME at most", args[1])
			case namespace == "":
				return usageErrorf("--namespace: it is empty")
			}
			if err := keyspace.CheckName("job", args[0]); err != nil {
				return usageErrorf("%w", err)
			}
			runs := []cron.Run{}
			err := g.ask(cmd.Context(), func(ctx context.Context, client *clientv3.Client) error {
				s, err := session.Open(ctx, client, session.WithNamespace(namespace))
				if err != nil {
					return err
				}
				defer s.Close(ctx)
				found, err := cron.New(s).History(ctx, args[0])
				runs = append(runs, found...)
				return err
			})
			if err != nil {
				return err
			}
			if len(runs) == 0 && g.output == outputTable {
				fmt.Fprintf(cmd.ErrOrStderr(), "fenceline: no run of job %q has ended\n", args[0])
				return nil
			}
			return g.printRuns(cmd.OutOrStdout(), runs)
		},
	}
	cmd.Flags().StringVar(&namespace, "namespace", defaultNamespace, "`prefix` of all keys")
	return cmd
}

func (g *globals) printRuns(w io.Writer, runs []cron.Run) error {
	t := &table{header: []string{"SCHEDULED", "ATTEMPT", "STARTED", "TOOK", "BY", "RESULT"}}
	for _, r := range runs {
		took := ""
		if !r.Finished.IsZero() {
			took = r.Finished.Sub(r.Started).Round(time.Millisecond).String()
		}
		t.add(cells(clock(r.Scheduled), fmt.Sprint(r.Attempt), clock(r.Started), took, r.By, outcome(r))...)
	}
	return g.printEscaped(w, runs, t)
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
		texts[i] = cmp.Or(printable(text), "-")
	}
	return texts
}

// printEscaped is print with everything escaped in JSON that a terminal could take for a command, as it is in cells.
func (g *globals) printEscaped(w io.Writer, v any, t *table) error {
	if g.output != outputJSON {
		return t.write(w)
	}
	var text bytes.Buffer
	if err := g.print(&text, v, nil); err != nil {
		return err
	}
	_, err := io.WriteString(w, printableJSON(text.String()))
	return err
}
