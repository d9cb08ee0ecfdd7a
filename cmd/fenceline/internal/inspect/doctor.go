package inspect

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/doctor"
	"github.com/fenceline/fenceline/internal/show"
)

func NewDoctorCommand(g *app.Globals) *cobra.Command {
	namespace := ""
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find what is wrong with etcd, and with what stands in it",
		Long: `Find what is wrong with etcd, as far as that matters to who takes locks there, and with what stands in it: members that do not
answer or are behind, versions with known faults, alarms, quota, history, slow reads; entries that no lease ends, holds that
others have waited for long, deadlocks, clocks that differ. Each with what to do about it. It writes nothing.

Exit codes: 0 nothing is wrong, or only may be one day; 1 something does not work; 64 wrong command line; 69 etcd cannot be reached.`,
		Args: app.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if namespace == "" {
				return app.UsageErrorf("--namespace: it is empty")
			}
			client, err := g.Connect(cmd.Context())
			if err != nil {
				return err
			}
			defer client.Close()
			ctx, cancel := context.WithTimeout(cmd.Context(), g.Connection.CommandTimeout)
			defer cancel()
			facts := doctor.Gather(ctx, client, namespace)
			if !facts.Reached() { // say why, as the other commands do; an etcd without a quorum is for the doctor
				if err := g.Ping(cmd.Context(), client); err != nil {
					return err
				}
			}
			return printFindings(g, cmd, doctor.Examine(facts))
		},
	}
	cmd.Flags().StringVar(&namespace, "namespace", app.DefaultNamespace, "`prefix` of all keys")
	return cmd
}

func printFindings(g *app.Globals, cmd *cobra.Command, all []doctor.Finding) error {
	fails := false
	for _, f := range all {
		fails = fails || f.Fails
	}
	if g.Output == app.OutputJSON {
		if err := g.Print(cmd.OutOrStdout(), map[string]any{"findings": append([]doctor.Finding{}, all...)}, nil); err != nil {
			return err
		}
	} else {
		for _, f := range all {
			mark := "may"
			if f.Fails {
				mark = "BAD"
			}
			fmt.Fprintln(cmd.OutOrStdout(), app.Fitted(cmd.OutOrStdout(), fmt.Sprintf("%s  %s", mark, show.Printable(f.What))))
			fmt.Fprintln(cmd.OutOrStdout(), app.Fitted(cmd.OutOrStdout(), "     "+f.Do))
		}
		if len(all) == 0 {
			fmt.Fprintln(cmd.ErrOrStderr(), "fenceline: nothing is wrong")
		}
	}
	if fails {
		return &app.ExitError{Code: app.ExitFailure}
	}
	return nil
}
