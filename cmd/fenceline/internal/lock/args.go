package lock

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/child"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/underhold"
	"github.com/fenceline/fenceline/internal/keyspace"
)

// parse takes the arguments behind the first run of flags: NAME, perhaps more flags, COMMAND; or NAMEs and flags, --,
// COMMAND.
func (f *lockFlags) parse(flags *pflag.FlagSet, args []string) error {
	switch {
	case flags.ArgsLenAtDash() == 0:
		return app.UsageErrorf("NAME is missing in front of --")
	case len(args) == 0:
		return app.UsageErrorf("NAME and COMMAND are missing")
	}
	f.names = args[:1:1]
	for rest := args[1:]; ; {
		var err error
		if rest, f.dashes, err = underhold.Behind(flags, rest); err != nil {
			return err
		}
		if f.dashes || !slices.Contains(rest, "--") {
			f.Command = rest
			break
		}
		if err := f.ambiguous(args[0], rest); err != nil {
			return err
		}
		f.names, rest = append(f.names, rest[0]), rest[1:]
	}
	return f.check(flags.Changed)
}

// ambiguous refuses NAME COMMAND ARG -- ARG, which reads like several NAMEs: to lock "kubectl" and "exec" and run here
// what was meant for elsewhere is the worse of two mistakes.
func (f *lockFlags) ambiguous(name string, rest []string) error {
	if f.several || len(f.names) > 1 {
		return nil
	}
	if _, err := child.Find(rest[0]); err != nil {
		return nil
	}
	return app.UsageErrorf("%q is a command on this machine: is it the COMMAND, or a NAME? Say which: lock %s -- %s ..., or lock --several %s %s ... -- COMMAND",
		rest[0], name, rest[0], name, rest[0])
}

// check names what cannot be, before anything is asked of etcd.
func (f *lockFlags) check(given func(flag string) bool) error {
	for i, name := range f.names {
		if err := keyspace.CheckName("lock", name); err != nil {
			return app.UsageErrorf("%w", err)
		}
		if slices.Contains(f.names[:i], name) {
			return app.UsageErrorf("NAME %q: it is given twice", name)
		}
	}
	if err := f.Flags.Check(given, "lock", "while holding "+f.what()); err != nil {
		return err
	}
	if err := app.CheckPrefix(given("prefix"), f.prefix); err != nil {
		return err
	}
	f.waitGiven = given("wait")
	switch {
	case f.shared && f.exclusive:
		return app.UsageErrorf("-s and -x exclude each other: read beside others, or be alone")
	case (f.shared || f.exclusive) && len(f.names) > 1:
		return app.UsageErrorf("-s and -x are for one NAME: %s cannot be taken at once with them", f.what())
	case f.prefix != "" && (f.shared || f.exclusive || len(f.names) > 1):
		return app.UsageErrorf("--prefix is for one NAME, without -s and -x: others know no such lock")
	case f.prefix != "" && strings.HasPrefix(f.Namespace, f.prefix+"/"):
		return app.UsageErrorf("--prefix %q: --namespace %q is inside of it", f.prefix, f.Namespace)
	case f.try && f.waitGiven:
		return app.UsageErrorf("-n and -w exclude each other: do not wait, or wait %v", f.wait)
	case given("max-waiters") && f.maxWaiters < 1:
		return app.UsageErrorf("--max-waiters %d: it must be at least 1; -n is for not waiting at all", f.maxWaiters)
	case f.skipOK && given("conflict-exit-code"):
		return app.UsageErrorf("--skip-ok and -E exclude each other: they name different exit codes")
	case f.conflict < 0 || f.conflict > 255:
		return app.UsageErrorf("-E %d: an exit code is between 0 and 255", f.conflict)
	}
	return nil
}

// what is locked, in words.
func (f *lockFlags) what() string {
	const most = 5
	if len(f.names) == 1 {
		return fmt.Sprintf("lock %q", f.names[0])
	}
	var quoted []string
	for _, name := range f.names[:min(most, len(f.names))] {
		quoted = append(quoted, fmt.Sprintf("%q", name))
	}
	text := "locks " + strings.Join(quoted, ", ")
	if more := len(f.names) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// kind is that of the entries in etcd.
func (f *lockFlags) kind() string {
	if f.shared || f.exclusive {
		return app.RwlockKind
	}
	return app.LockKind
}

// willNotWait says that it is now or never.
func (f *lockFlags) willNotWait() bool { return f.try || f.waitGiven && f.wait == 0 }
