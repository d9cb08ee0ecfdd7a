package cli

import (
	"errors"
	"time"

	"github.com/spf13/pflag"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/child"
	"github.com/fenceline/fenceline/internal/keeper"
)

const (
	defaultTTL   = 15 * time.Second
	defaultGrace = 5 * time.Second
)

// holdFlags is what the command line says of a command and of what it must not outlive, whatever that is.
type holdFlags struct {
	command    []string
	program    string // how the session is called; empty: as the command
	namespace  string
	ttl, grace seconds
	onLost     string
	verbose    bool
}

// addTo adds the flags; what is the hold's name in their help: a lock.
func (f *holdFlags) addTo(flags *pflag.FlagSet, what string) {
	f.ttl, f.grace = seconds(defaultTTL), seconds(defaultGrace)
	flags.SetInterspersed(false) // the command's flags are the command's
	flags.Var(&f.ttl, "ttl", "`seconds` for which etcd keeps the "+what+" when it hears nothing from here")
	flags.Var(&f.grace, "grace", "`seconds` between SIGTERM and SIGKILL, after the loss of the "+what+" and for what the command leaves running; at most a third of --ttl")
	flags.StringVar(&f.onLost, "on-lost", string(child.Kill), "`action` on the command when the "+what+" is lost: kill (SIGTERM, then SIGKILL), term (SIGTERM only), ignore")
	flags.StringVar(&f.namespace, "namespace", defaultNamespace, "`prefix` of all keys")
}

// check names what cannot be, before anything is asked of etcd. during says when the command runs.
func (f *holdFlags) check(given func(flag string) bool, what, during string) error {
	if len(f.command) == 0 || f.command[0] == "" {
		return usageErrorf("COMMAND is missing: nothing to run %s", during)
	}
	if err := keeper.CheckTTL(time.Duration(f.ttl)); err != nil {
		return usageErrorf("--ttl: %w", err)
	}
	longest := f.ttl / 3
	if !given("grace") {
		f.grace = min(f.grace, longest)
	}
	switch {
	case f.grace > longest:
		return usageErrorf("--grace %v: at most a third of --ttl %v is allowed, %v: a longer one would end commands whose %s is about to be renewed", f.grace, f.ttl, longest, what)
	case f.namespace == "":
		return usageErrorf("--namespace: it is empty")
	}
	switch child.OnLost(f.onLost) {
	case child.Kill, child.Term, child.Ignore:
		return nil
	}
	return usageErrorf("--on-lost %q: it is none of kill, term, ignore", f.onLost)
}

// behind reads the flags that stand behind a NAME. It returns the words after them, and whether -- is in front of those.
func behind(flags *pflag.FlagSet, rest []string) (words []string, dashes bool, err error) {
	if err := flags.Parse(rest); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return nil, false, err
		}
		return nil, false, usageErrorf("%w", flagError(err))
	}
	if flags.Changed("help") {
		return nil, false, pflag.ErrHelp
	}
	return flags.Args(), flags.ArgsLenAtDash() == 0, nil
}

// nameAndCommand takes NAME, perhaps flags, and COMMAND, with or without -- in front of it.
func nameAndCommand(flags *pflag.FlagSet, args []string) (name string, command []string, err error) {
	switch {
	case flags.ArgsLenAtDash() == 0:
		return "", nil, usageErrorf("NAME is missing in front of --")
	case len(args) == 0:
		return "", nil, usageErrorf("NAME and COMMAND are missing")
	}
	command, _, err = behind(flags, args[1:])
	return args[0], command, err
}
