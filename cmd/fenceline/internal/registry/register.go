// Package registry is "fenceline register" and "fenceline services".
package registry

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/child"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/underhold"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/registry"
)

const defaultServices = "services/"

// registerFlags is what the command line says of one instance, and perhaps of the command that is it.
type registerFlags struct {
	underhold.Flags
	service  string
	instance registry.Instance
	meta     []string
	prefix   string
	waitOpen bool
	drain    app.Seconds
}

const registerHelp = `Register an instance of a service: that SERVICE is offered at ADDR, host:port. It stays registered until this command
ends; when it dies, the entry goes after --ttl. "fenceline services" shows who is registered, package registry and
fenceline:///SERVICE in gRPC find it.

With a COMMAND it is registered for as long as that runs; the command gets this one's input and output, and the signals
that this one gets. With --drain, SIGINT and SIGTERM reach it that much later: meanwhile the instance is marked as
draining, so that others stop sending to it. A lost lease does not end the command: the instance is registered again.

Environment of the command:
  FENCELINE_SERVICE      SERVICE
  FENCELINE_INSTANCE_ID  the instance's
  FENCELINE_ADDR         ADDR
  FENCELINE_ENDPOINTS    etcd's endpoints

Exit codes:
  0         without a COMMAND: interrupted by SIGINT or SIGTERM, and taken back
  0-255     the command's own
  128+N     signal N killed the command
  126, 127  the command cannot be run, is not found
  1         another live session has registered this ID of the service
  64        wrong command line
  69        etcd cannot be reached at the start, or refuses; later, an etcd that is away is waited for
  130, 143  interrupted before it was registered; nothing is left behind`

func NewRegisterCommand(g *app.Globals) *cobra.Command {
	f := &registerFlags{}
	cmd := &cobra.Command{
		Use:                   "register [flags] SERVICE ADDR [flags] [-- COMMAND [ARG...]]",
		DisableFlagsInUseLine: true,
		Short:                 "Register an instance of a service",
		Long:                  registerHelp,
		Example: `  fenceline register web 10.0.0.5:8080 --zone eu-1a --meta commit=5f3c -- ./web --listen :8080
  fenceline register web 10.0.0.5:8080 --wait-open --drain 5 -- ./web --listen :8080
  fenceline register legacy 10.0.0.9:5432 --weight 2      # for something that runs elsewhere`,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.parse(cmd.Flags(), args); err != nil {
				return err
			}
			return runRegister(cmd.Context(), g, f, cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false) // the command's flags are the command's
	f.Ttl, f.Grace, f.OnLost = app.Seconds(underhold.DefaultTTL), app.Seconds(underhold.DefaultGrace), string(child.Ignore)
	flags.StringVar(&f.instance.ID, "id", "", "`id` of the instance, of which a service has one each (default ADDR)")
	flags.StringArrayVar(&f.meta, "meta", nil, "`key=value` for whoever looks the instance up; may be given more than once")
	flags.IntVar(&f.instance.Weight, "weight", 1, "`weight` of this instance when one is picked, relative to the others")
	flags.StringVar(&f.instance.Zone, "zone", "", "`zone` in which it runs")
	flags.StringVar(&f.instance.Version, "service-version", "", "`version` of the service")
	flags.BoolVar(&f.waitOpen, "wait-open", false, "register as starting, and as up once ADDR accepts connections from here")
	flags.Var(&f.drain, "drain", "`seconds` between marking the instance as draining and passing SIGINT or SIGTERM on")
	flags.Var(&f.Ttl, "ttl", "`seconds` for which etcd keeps the entry when it hears nothing from here")
	flags.StringVar(&f.prefix, "prefix", defaultServices, "`prefix` under which services stand in etcd")
	flags.StringVar(&f.Namespace, "namespace", app.DefaultNamespace, "`prefix` of the session's own key")
	flags.BoolVar(&f.Verbose, "verbose", false, "say when it is registered, as on a terminal")
	return cmd
}

// parse takes SERVICE, ADDR, perhaps more flags, and COMMAND.
func (f *registerFlags) parse(flags *pflag.FlagSet, args []string) (err error) {
	switch {
	case len(args) == 0 || flags.ArgsLenAtDash() == 0:
		return app.UsageErrorf("SERVICE and ADDR are missing")
	case len(args) == 1 || flags.ArgsLenAtDash() == 1:
		return app.UsageErrorf("ADDR is missing")
	}
	f.service, f.instance.Addr = args[0], args[1]
	command, dashes, err := underhold.Behind(flags, args[2:])
	switch {
	case err != nil:
		return err
	case !dashes && len(command) > 0:
		return app.UsageErrorf("%q: in front of a COMMAND there must be --", command[0])
	case dashes && (len(command) == 0 || command[0] == ""):
		return app.UsageErrorf("COMMAND is missing behind --")
	}
	f.Command = command
	if err := keeper.CheckTTL(time.Duration(f.Ttl)); err != nil {
		return app.UsageErrorf("--ttl: %w", err)
	}
	switch {
	case f.instance.Weight < 1:
		return app.UsageErrorf("--weight %d: it must be at least 1", f.instance.Weight)
	case f.prefix == "":
		return app.UsageErrorf("--prefix: it is empty")
	case f.Namespace == "":
		return app.UsageErrorf("--namespace: it is empty")
	case f.drain > 0 && len(command) == 0:
		return app.UsageErrorf("--drain: it is for a COMMAND")
	}
	f.instance.Meta = map[string]string{}
	for _, pair := range f.meta {
		k, v, ok := strings.Cut(pair, "=")
		if !ok || k == "" {
			return app.UsageErrorf("--meta %q: it is not key=value", pair)
		}
		f.instance.Meta[k] = v
	}
	if err := registry.Check(f.service, f.instance); err != nil {
		return app.UsageErrorf("%w", err)
	}
	return nil
}

func (f *registerFlags) what() string { return fmt.Sprintf("service %q", f.service) }
