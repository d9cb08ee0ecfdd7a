package underhold

import (
	"errors"
	"time"

	"github.com/spf13/pflag"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/child"
	"github.com/fenceline/fenceline/internal/keeper"
)

const (
	DefaultTTL   = 15 * time.Second
	DefaultGrace = 5 * time.Second
)

// Flags is what the command line says of a command and of what it must not outlive, whatever that is.
type Flags struct {
	Command    []string
	Program    string // how the session is called; empty: as the command
	Namespace  string
	Ttl, Grace app.Seconds
	OnLost     string
	Verbose    bool
}

// AddTo adds the flags; what is the hold's name in their help: a lock.
func (f *Flags) AddTo(flags *pflag.FlagSet, what string) {
	f.Ttl, f.Grace = app.Seconds(DefaultTTL), app.Seconds(DefaultGrace)
	flags.SetInterspersed(false) // the command's flags are the command's
	flags.Var(&f.Ttl, "ttl", "`seconds` for which etcd keeps the "+what+" when it hears nothing from here")
	flags.Var(&f.Grace, "grace", "`seconds` between SIGTERM and SIGKILL, after the loss of the "+what+" and for what the command leaves running; at most a third of --ttl")
	flags.StringVar(&f.OnLost, "on-lost", string(child.Kill), "`action` on the command when the "+what+" is lost: kill (SIGTERM, then SIGKILL), term (SIGTERM only), ignore")
	flags.StringVar(&f.Namespace, "namespace", app.DefaultNamespace, "`prefix` of all keys")
}

// Check names what cannot be, before anything is asked of etcd. during says when the command runs.
func (f *Flags) Check(given func(flag string) bool, what, during string) error {
	if len(f.Command) == 0 || f.Command[0] == "" {
		return app.UsageErrorf("COMMAND is missing: nothing to run %s", during)
	}
	if err := keeper.CheckTTL(time.Duration(f.Ttl)); err != nil {
		return app.UsageErrorf("--ttl: %w", err)
	}
	longest := f.Ttl / 3
	if !given("grace") {
		f.Grace = min(f.Grace, longest)
	}
	switch {
	case f.Grace > longest:
		return app.UsageErrorf("--grace %v: at most a third of --ttl %v is allowed, %v: a longer one would end commands whose %s is about to be renewed", f.Grace, f.Ttl, longest, what)
	case f.Namespace == "":
		return app.UsageErrorf("--namespace: it is empty")
	}
	switch child.OnLost(f.OnLost) {
	case child.Kill, child.Term, child.Ignore:
		return nil
	}
	return app.UsageErrorf("--on-lost %q: it is none of kill, term, ignore", f.OnLost)
}

// Behind reads the flags that stand behind a NAME. It returns the words after them, and whether -- is in front of those.
func Behind(flags *pflag.FlagSet, rest []string) (words []string, dashes bool, err error) {
	if err := flags.Parse(rest); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return nil, false, err
		}
		return nil, false, app.UsageErrorf("%w", app.FlagError(err))
	}
	if flags.Changed("help") {
		return nil, false, pflag.ErrHelp
	}
	return flags.Args(), flags.ArgsLenAtDash() == 0, nil
}

// NameAndCommand takes NAME, perhaps flags, and COMMAND, with or without -- in front of it.
func NameAndCommand(flags *pflag.FlagSet, args []string) (name string, command []string, err error) {
	switch {
	case flags.ArgsLenAtDash() == 0:
		return "", nil, app.UsageErrorf("NAME is missing in front of --")
	case len(args) == 0:
		return "", nil, app.UsageErrorf("NAME and COMMAND are missing")
	}
	command, _, err = Behind(flags, args[1:])
	return args[0], command, err
}
