package cli

import (
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
)

// Under -race: cobra's table of template functions is one for the process.
func TestSeveralCommandsMayRunInOneProcess(t *testing.T) {
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if code, stdout, stderr := fenceline("lock", "--help"); code != 0 || !strings.Contains(stdout, "fenceline lock") {
				t.Errorf("code %d, %s%s", code, stdout, stderr)
			}
		})
	}
	all.Wait()
}

func TestHelpOfEachCommandFits80Columns(t *testing.T) {
	var walk func(cmd *cobra.Command, path []string)
	walk = func(cmd *cobra.Command, path []string) {
		code, stdout, stderr := fenceline(append(path, "--help")...)
		if code != 0 || stderr != "" {
			t.Errorf("%q: code %d, %s", path, code, stderr)
		}
		examples := false
		for line := range strings.Lines(stdout) {
			line = strings.TrimRight(line, "\n")
			examples = line == "Examples:" || line == "Usage:" || examples && line != "" // are copied, and stay as they are
			if n := utf8.RuneCountInString(line); n > app.HelpWidth && !examples && strings.ContainsRune(strings.TrimSpace(line), ' ') && !strings.HasPrefix(line, "  report=") {
				t.Errorf("%q: %d columns: %s", path, n, line)
			}
		}
		for _, sub := range cmd.Commands() {
			if !sub.Hidden && sub.Name() != "help" && sub.Name() != "completion" {
				walk(sub, append(path[:len(path):len(path)], sub.Name()))
			}
		}
	}
	walk(newRootCommand(), nil)
}

func TestTextIsSetAnewAndColumnsHang(t *testing.T) {
	text := "One sentence that goes on\nover two lines.\n\n  first   what it is, in more words than there is room\n          for\n  second  that\nThe end."
	const want = "One sentence that goes on over\ntwo lines.\n\n  first   what it is, in more\n          words than there is\n          room for\n  second  that\nThe end."
	if got := app.Reflowed(text, 30); got != want {
		t.Errorf("%s", got)
	}
}
