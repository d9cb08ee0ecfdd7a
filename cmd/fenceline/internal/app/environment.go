package app

import (
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// Where the value of a flag may come from; the first that has one counts.
const (
	commandLine    = ""
	OwnEnvironment = "FENCELINE_"
	Etcdctls       = "ETCDCTL_"
)

// alternatives are flags that answer the same question: the nearest source decides which of them counts, so that
// FENCELINE_ENDPOINTS beats ETCDCTL_DISCOVERY_SRV.
var alternatives = [][]string{{"endpoints", "discovery-srv"}, {"password", "password-file"}}

// FromEnvironment sets the flags that the command line leaves out.
func (c *Connection) FromEnvironment() (err error) {
	forgetOuterHold()
	defer c.checkTimeouts(&err)
	for _, question := range c.questions() {
		for _, source := range []string{commandLine, OwnEnvironment, Etcdctls} {
			answered, err := answer(question, source)
			if err != nil {
				return err
			}
			if answered {
				break
			}
		}
	}
	return nil
}

// checkTimeouts refuses times in which nothing can be done.
func (c *Connection) checkTimeouts(err *error) {
	for name, d := range map[string]time.Duration{"--dial-timeout": c.dialTimeout, "--command-timeout": c.CommandTimeout,
		"--keepalive-time": c.keepaliveTime, "--keepalive-timeout": c.keepaliveTimeout} {
		if *err == nil && d <= 0 {
			*err = UsageErrorf("%s is %v: it must be positive", name, d)
		}
	}
}

func (c *Connection) questions() [][]*pflag.Flag {
	var questions [][]*pflag.Flag
	grouped := map[string]bool{}
	for _, names := range alternatives {
		var flags []*pflag.Flag
		for _, name := range names {
			flags = append(flags, c.Flags.Lookup(name))
			grouped[name] = true
		}
		questions = append(questions, flags)
	}
	c.Flags.VisitAll(func(f *pflag.Flag) {
		if !grouped[f.Name] {
			questions = append(questions, []*pflag.Flag{f})
		}
	})
	return questions
}

// answer sets the one flag of the question that the source has a value for.
func answer(question []*pflag.Flag, source string) (bool, error) {
	var answered *pflag.Flag
	for _, f := range question {
		value := os.Getenv(Variable(source, f))
		if source == commandLine && !f.Changed || source != commandLine && value == "" {
			continue
		}
		if answered != nil {
			return false, UsageErrorf("%s and %s exclude each other", Variable(source, answered), Variable(source, f))
		}
		answered = f
		if source == commandLine {
			continue
		}
		if err := f.Value.Set(value); err != nil {
			return false, UsageErrorf("%s=%q: %w", Variable(source, f), value, valueError(f, err))
		}
		f.Changed = true
	}
	return answered != nil, nil
}

// Variable is what the source calls the flag.
func Variable(source string, f *pflag.Flag) string {
	if source == commandLine {
		return "--" + f.Name
	}
	return source + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
}

// HandOn is what a command is told, so that a fenceline in it reaches the same etcd in the same way. The key of --cert goes by etcdctl's
// name, since the other one says something else to a command under a lock. A password that was typed is not handed on.
func (c *Connection) HandOn() (set []string) {
	c.Flags.VisitAll(func(f *pflag.Flag) {
		switch {
		case !f.Changed, f.Name == "endpoints", f.Name == "discovery-srv", f.Name == "discovery-srv-name":
		case f.Name == "key":
			set = append(set, Etcdctls+"KEY="+f.Value.String())
		default:
			set = append(set, Variable(OwnEnvironment, f)+"="+f.Value.String())
		}
	})
	return set
}

// defaultsFromEnvironment are those flags of all commands that the environment may set once for all. The command line beats it.
var defaultsFromEnvironment = []string{"namespace", "ttl", "output"}

// TakeDefaults sets them, before the flags behind a NAME are read.
func TakeDefaults(flags *pflag.FlagSet) error {
	for _, name := range defaultsFromEnvironment {
		f := flags.Lookup(name)
		if f == nil || f.Changed {
			continue
		}
		key := Variable(OwnEnvironment, f)
		value := os.Getenv(key)
		if value == "" {
			continue
		}
		if err := f.Value.Set(value); err != nil {
			return UsageErrorf("%s=%q: %w", key, value, valueError(f, err))
		}
	}
	return nil
}

// forgetOuterHold keeps the entry of a lock that this process runs under from being taken for --key.
func forgetOuterHold() {
	if entry := os.Getenv(EntryVariable); entry != "" && entry == os.Getenv(KeyVariable) {
		os.Unsetenv(KeyVariable)
	}
}

// Override is base without the variables that set sets, and set. Of two values of one name most programs see the first.
func Override(base, set []string) []string {
	var names []string
	for _, entry := range set {
		name, _, _ := strings.Cut(entry, "=")
		names = append(names, name)
	}
	return append(Without(base, names...), set...)
}

func Without(base []string, names ...string) []string {
	return slices.DeleteFunc(slices.Clone(base), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(names, name)
	})
}

// FENCELINE_KEY is two things: the file with the client's key, as --key, and in a command under a lock the key of its
// entry, which ETCD_LOCK_KEY repeats. That tells them apart, and lets such a command run fenceline in its turn.
const (
	KeyVariable   = "FENCELINE_KEY"
	EntryVariable = "ETCD_LOCK_KEY"
)
