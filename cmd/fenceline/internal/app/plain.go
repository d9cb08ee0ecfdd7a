package app

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// packageNames finds the names of the library's packages in front of its errors, with verbs that name nothing, and what is
// quoted, to leave it alone.
var packageNames = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|(?:^|(: |\())(?:(?:session: open|cron: run|cron: list|registry: look up all|lock|session|fence|bench|election|semaphore|barrier|cron|registry): )+`)

// Plain is text without the names of the packages that an error went through: they mean nothing at a prompt. What two of them
// have said the same way, it says once.
func Plain(text string) string {
	text = saidOnce(withoutPackages(text))
	if strings.Contains(text, denies) {
		text = strings.Replace(text, ": "+rpctypes.ErrPermissionDenied.Error(), "", 1)
	}
	return text
}

// denies is how the library explains that etcd has denied a permission, with etcd's own words behind it.
const denies = "etcd denies access to keys "

// saidOnce is text without parts that repeat the one before them: "a: a: b" is "a: b". What is quoted is one part.
func saidOnce(text string) string {
	var parts []string
	from, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch {
		case quoted && text[i] == '\\':
			i++
		case text[i] == '"':
			quoted = !quoted
		case !quoted && strings.HasPrefix(text[i:], ": "):
			parts = append(parts, text[from:i])
			from = i + 2
		}
	}
	return strings.Join(slices.Compact(append(parts, text[from:])), ": ")
}

func withoutPackages(text string) string {
	return packageNames.ReplaceAllStringFunc(text, func(found string) string {
		switch {
		case found[0] == '"':
			return found
		case strings.HasPrefix(found, ": "):
			return ": "
		case found[0] == '(':
			return "("
		}
		return ""
	})
}

// About is err as one of what, lock "x" say, in place of the library's verb and name: acquire "x".
func About(what string, err error) error {
	inner := errors.Unwrap(err)
	if inner == nil || !strings.HasSuffix(err.Error(), `": `+inner.Error()) {
		return err
	}
	return fmt.Errorf("%s: %w", what, inner)
}

// FlagError says of a value that its flag cannot have what it should be, in words of ours where the flag is not ours.
func FlagError(err error) error {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return err
	}
	f, name := invalid.GetFlag(), "--"+invalid.GetFlag().Name
	if f.Shorthand != "" {
		name = "-" + f.Shorthand + ", " + name
	}
	return fmt.Errorf("%s %q: %w", name, invalid.GetValue(), valueError(f, errors.Unwrap(err)))
}

// valueError is err in other words where it is the Go library's.
func valueError(f *pflag.Flag, err error) error {
	switch f.Value.Type() {
	case "int", "int64", "uint", "uint64":
		return errors.New("it is not a whole number")
	case "intSlice":
		return errors.New("it is not a list of whole numbers, such as 1,8")
	case "float64":
		return errors.New("it is not a number")
	case "bool":
		return errors.New("it is neither true nor false")
	case "duration":
		return errors.New("it is not a duration, such as 250ms or 1m30s")
	case "durationSlice":
		return errors.New("it is not a list of durations, such as 0,10ms")
	}
	return err
}
