package cli

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/pflag"
)

// packageNames finds the names of the library's packages in front of its errors, and what is quoted, to leave it alone.
var packageNames = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|(?:^|(: |\())(?:(?:lock|session|fence|bench|election|semaphore|barrier|cron|registry): )+`)

// plain is text without the names of the packages that an error went through: they mean nothing at a prompt.
func plain(text string) string {
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

// flagError says of a value that its flag cannot have what it should be, in words of ours where the flag is not ours.
func flagError(err error) error {
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
