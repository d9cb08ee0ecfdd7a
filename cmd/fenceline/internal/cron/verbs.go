package cron

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/cron"
	"github.com/fenceline/fenceline/internal/keyspace"
)

// cronVerb is a command that does something to a job.
type cronVerb struct {
	name, short, long string
	do                func(ctx context.Context, client *clientv3.Client, job string, opts ...cron.ListOption) error
	done              string // what is said then, of NAME
}

const cronVerbCodes = `

Exit codes: 0; 1 there is no such job, or nobody to run it, or it runs; 64 wrong command line; 69 etcd cannot be reached, or
refuses.`

func newCronRunCommand(g *app.Globals) *cobra.Command {
	return cronVerb{"run", "Have a process that has the job run it now, once", `Have one of the processes that have the job NAME run it now, once, beside its schedule. While it runs already, it is run
after that. It does not wait for the run: see 'fenceline cron history NAME'. A job that is paused is run, too.`,
		cron.TriggerJob, "is asked for"}.command(g)
}

func newCronPauseCommand(g *app.Globals) *cobra.Command {
	return cronVerb{"pause", "Have no process start a job any more", `Have no process start the job NAME any more, until 'fenceline cron resume NAME'. A run that is under way goes on.`,
		cron.PauseJob, "is paused"}.command(g)
}

func newCronResumeCommand(g *app.Globals) *cobra.Command {
	return cronVerb{"resume", "Undo 'cron pause'", `Have the job NAME started again at its ticks. Those that came while it was paused are not made good.`,
		cron.ResumeJob, "is resumed"}.command(g)
}

func newCronRmCommand(g *app.Globals) *cobra.Command {
	return cronVerb{"rm", "Delete what etcd has of a job", `Delete what etcd has of the job NAME: what was run last, its history, and that it is paused. A process that has the job makes
that anew with its next tick. It is also the remedy for a record that cannot be read, or that a wrong clock has left.`,
		cron.ForgetJob, "is forgotten"}.command(g)
}

func (v cronVerb) command(g *app.Globals) *cobra.Command {
	namespace := ""
	cmd := &cobra.Command{
		Use:                   v.name + " [flags] NAME",
		DisableFlagsInUseLine: true,
		Short:                 v.short,
		Long:                  v.long + cronVerbCodes,
		ValidArgsFunction:     app.CompleteName(g, &namespace, func() string { return app.CronKind }, cobra.ShellCompDirectiveNoFileComp),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneJob(args, namespace); err != nil {
				return err
			}
			var refused error
			err := g.Ask(cmd.Context(), func(ctx context.Context, client *clientv3.Client) error {
				err := v.do(ctx, client, args[0], cron.WithNamespace(namespace))
				if errors.Is(err, cron.ErrUnknown) || errors.Is(err, cron.ErrNobody) || errors.Is(err, cron.ErrRunning) {
					refused, err = err, nil
				}
				return err
			})
			switch {
			case err != nil:
				return err
			case refused != nil:
				return &app.ExitError{Code: app.ExitFailure, Err: fmt.Errorf("%w", refused)}
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "fenceline: job %q %s\n", args[0], v.done)
			return nil
		},
	}
	cmd.Flags().StringVar(&namespace, "namespace", app.DefaultNamespace, "`prefix` of all keys")
	return cmd
}

// oneJob checks the arguments of a command that takes the name of a job.
func oneJob(args []string, namespace string) error {
	switch {
	case len(args) == 0:
		return app.UsageErrorf("NAME is missing")
	case len(args) > 1:
		return app.UsageErrorf("%q: one NAME at most", args[1])
	case namespace == "":
		return app.UsageErrorf("--namespace: it is empty")
	}
	if err := keyspace.CheckName("job", args[0]); err != nil {
		return app.UsageErrorf("%w", err)
	}
	return nil
}
