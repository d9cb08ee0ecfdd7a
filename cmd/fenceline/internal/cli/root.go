// Package cli is the tree of commands. Each noun has a room beside this one, with what it shares with others in app, and underhold for those that
// run a command.
package cli

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/barrier"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/bench"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/cron"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/dashboard"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/dev"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/elect"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/exporter"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/inspect"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/lock"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/registry"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/sem"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/witness"
)

// groups are the constructors of all there is; a new subcommand is a file and a line here.
var groups = []struct {
	title    string
	commands []func(*app.Globals) *cobra.Command
}{
	{"Run a command:", []func(*app.Globals) *cobra.Command{lock.NewCommand, elect.NewCommand, cron.NewCommand, sem.NewCommand, registry.NewRegisterCommand, barrier.NewBarrierCommand}},
	{"Wait for others:", []func(*app.Globals) *cobra.Command{barrier.NewGateCommand, barrier.NewLatchCommand}},
	{"Look:", []func(*app.Globals) *cobra.Command{inspect.NewLsCommand, inspect.NewTopCommand, inspect.NewWhoCommand, inspect.NewAssertCommand, inspect.NewSessionsCommand, inspect.NewHistoryCommand, inspect.NewDeadlocksCommand, inspect.NewDoctorCommand, elect.NewObserveCommand, registry.NewServicesCommand, exporter.NewCommand, dashboard.NewCommand}},
	{"Intervene:", []func(*app.Globals) *cobra.Command{inspect.NewReleaseCommand, inspect.NewRmCommand}},
	{"Watch over processes:", []func(*app.Globals) *cobra.Command{witness.NewCommand, witness.NewAgentCommand}},
	{"Try and measure:", []func(*app.Globals) *cobra.Command{dev.NewCommand, bench.NewCommand}},
}

// Main runs the command line args and returns the exit code of the process.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	running := false
	root := newRootCommand()
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		running = true
		return app.TakeDefaults(cmd.Flags())
	}
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)

	cmd, err := root.ExecuteC()
	if err == nil {
		return 0
	}
	var exit *app.ExitError
	if !errors.As(err, &exit) {
		// What fails before a command runs is the command line: an unknown name, a bad flag, a missing argument.
		exit = &app.ExitError{Code: app.ExitFailure, Err: err}
		if !running {
			exit.Code = app.ExitUsage
		}
	}
	if exit.Err != nil {
		fmt.Fprintln(stderr, app.Fitted(stderr, "fenceline: "+app.Plain(exit.Err.Error())))
		if exit.Code == app.ExitUsage {
			fmt.Fprintf(stderr, "See '%s --help'.\n", cmd.CommandPath())
		}
	}
	return exit.Code
}

func newRootCommand() *cobra.Command {
	g := &app.Globals{Output: app.OutputTable}
	root := &cobra.Command{
		Use:   "fenceline",
		Short: "Coordinate processes through etcd",
		Long: `Coordinate processes through etcd.

Connection flags have the names that etcdctl gives them, and may come from the environment: FENCELINE_ENDPOINTS,
else ETCDCTL_ENDPOINTS, and so on; a flag beats both. FENCELINE_NAMESPACE, FENCELINE_TTL and FENCELINE_OUTPUT stand for
--namespace, --ttl and --output.`,
		Example: `  fenceline dev &
  fenceline lock nightly -- ./report.sh
  fenceline ls`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return app.FlagError(err) })
	g.Connection.AddFlags(root.PersistentFlags())
	root.PersistentFlags().VarP(&g.Output, "output", "o", "`format` of what is printed: table or json")
	for _, group := range groups {
		root.AddGroup(&cobra.Group{ID: group.title, Title: group.title})
		for _, command := range group.commands {
			cmd := command(g)
			cmd.GroupID = group.title
			root.AddCommand(cmd)
		}
	}
	app.FitHelp(root)
	completeRest(g, root)
	return root
}

// version is what the Go toolchain stamped: a release, or a pseudo-version of the commit.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
