// Package cli is the command line of fenceline: one file per subcommand, over what they share: connection
// (connect.go), output (output.go) and exit codes (exit.go).
//
// stdout is data and stderr is talk, in every subcommand.
package cli

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// groups are the constructors of all there is; a new subcommand is a file and a line here.
var groups = []struct {
	title    string
	commands []func(*globals) *cobra.Command
}{
	{"Run a command:", []func(*globals) *cobra.Command{newLockCommand, newElectCommand, newCronCommand, newSemCommand, newRegisterCommand, newBarrierCommand}},
	{"Wait for others:", []func(*globals) *cobra.Command{newGateCommand, newLatchCommand}},
	{"Look:", []func(*globals) *cobra.Command{newLsCommand, newTopCommand, newWhoCommand, newAssertCommand, newSessionsCommand, newHistoryCommand, newDeadlocksCommand, newDoctorCommand, newObserveCommand, newServicesCommand}},
	{"Intervene:", []func(*globals) *cobra.Command{newReleaseCommand, newRmCommand}},
	{"Try and measure:", []func(*globals) *cobra.Command{newDevCommand, newBenchCommand}},
}

// Main runs the command line args and returns the exit code of the process.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	running := false
	root := newRootCommand()
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		running = true
		return takeDefaults(cmd.Flags())
	}
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)

	cmd, err := root.ExecuteC()
	if err == nil {
		return 0
	}
	var exit *ExitError
	if !errors.As(err, &exit) {
		// What fails before a command runs is the command line: an unknown name, a bad flag, a missing argument.
		exit = &ExitError{Code: exitFailure, Err: err}
		if !running {
			exit.Code = exitUsage
		}
	}
	if exit.Err != nil {
		fmt.Fprintln(stderr, fitted(stderr, "fenceline: "+plain(exit.Err.Error())))
		if exit.Code == exitUsage {
			fmt.Fprintf(stderr, "See '%s --help'.\n", cmd.CommandPath())
		}
	}
	return exit.Code
}

func newRootCommand() *cobra.Command {
	g := &globals{output: outputTable}
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
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return flagError(err) })
	g.connection.addFlags(root.PersistentFlags())
	root.PersistentFlags().VarP(&g.output, "output", "o", "`format` of what is printed: table or json")
	for _, group := range groups {
		root.AddGroup(&cobra.Group{ID: group.title, Title: group.title})
		for _, command := range group.commands {
			cmd := command(g)
			cmd.GroupID = group.title
			root.AddCommand(cmd)
		}
	}
	fitHelp(root)
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
