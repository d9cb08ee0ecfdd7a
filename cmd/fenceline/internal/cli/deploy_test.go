package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
)

// What stands in deploy/ is copied, and run by nobody here: so its command lines and variables at least are ours.
func TestDeployedCommandLinesAndVariablesAreUnderstood(t *testing.T) {
	const dir = "../../../../deploy"
	jobs := filepath.Join(t.TempDir(), "jobs")
	if err := os.WriteFile(jobs, []byte("reports=@hourly -- true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?m)^(?:ExecStart=/usr/local/bin/fenceline |.*command: \[fenceline, )([^]\n]*)`)
	variables := regexp.MustCompile(`FENCELINE_[A-Z_]+`)
	known := map[string]bool{}
	newRootCommand().PersistentFlags().VisitAll(func(f *pflag.Flag) { known[app.Variable(app.OwnEnvironment, f)] = true })
	known["FENCELINE_WITNESS"] = true // of the library
	found := 0
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if file.IsDir() { // rules of Prometheus, which have tests of their own
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines.FindAllStringSubmatch(string(content), -1) {
			found++
			args := strings.Fields(strings.ReplaceAll(strings.ReplaceAll(line[1], ",", ""), "%i", "reports"))
			switch last := len(args) - 1; args[last-1] { // what is not on this machine
			case "--jobs":
				args[last] = jobs
			case "--":
				args[last] = "true"
			case "--socket":
				args[last] = filepath.Join(t.TempDir(), "socket")
			default:
				t.Errorf("%s: %s: which file or program is it?", file.Name(), line[1])
			}
			code, _, stderr := fenceline(append([]string{"--endpoints", "127.0.0.1:1", "--command-timeout", "50ms", "--dial-timeout", "50ms"}, args...)...)
			if code != 69 { // understood, and nobody is there
				t.Errorf("%s: %s: exit code %d: %s", file.Name(), line[1], code, stderr)
			}
		}
		for _, name := range variables.FindAllString(string(content), -1) {
			if !known[name] {
				t.Errorf("%s: %s is no variable of ours", file.Name(), name)
			}
		}
	}
	if found != 6 {
		t.Errorf("found %d command lines", found)
	}
}
