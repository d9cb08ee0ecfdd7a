// Package fenceline_test holds the repository to what its README says.
package fenceline_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The program in the README is the part of examples/report that a user would write.
func TestProgramInTheReadmeIsTheExampleAndRuns(t *testing.T) {
	program := regexp.MustCompile("(?s)```go\n(.*?)```").FindStringSubmatch(read(t, "README.md"))
	if program == nil {
		t.Fatal("no program in the README")
	}
	if !strings.Contains(read(t, "examples/report/main.go"), program[1]) {
		t.Error("the program in the README differs from examples/report/main.go")
	}
	cmd := exec.Command("go", "run", "./examples/report")
	cmd.Env = append(os.Environ(), "FENCELINE_ENDPOINTS="+etcdtest.Shared(t).Endpoint())
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "page 3, fencing token ") {
		t.Errorf("%v\n%s", err, out)
	}
}

// A user of the library links the etcd client, and neither a server nor a command line nor a test.
func TestLibraryPullsInNoServerCommandOrTestModule(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "./session", "./fence", "./lock/...", "./election", "./cron", "./semaphore", "./barrier", "./registry/...")
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	modules := map[string]bool{}
	for _, path := range strings.Fields(string(out)) {
		modules[path] = true
	}
	if !modules["go.etcd.io/etcd/client/v3"] {
		t.Fatalf("this test looks at the wrong thing: %v", modules)
	}
	for path := range modules {
		if regexp.MustCompile(`etcd/server|etcd/tests|cobra|hdrhistogram|goleak|testify|go-cmp|gocron|certmagic|goose`).MatchString(path) {
			t.Errorf("the library links %s", path)
		}
	}
}

func TestModulesAreInstallable(t *testing.T) {
	for _, path := range []string{"go.mod", "adapters/go.mod", "bench/go.mod", "cmd/fenceline/go.mod"} {
		if regexp.MustCompile(`(?m)^\s*replace\b`).MatchString(read(t, path)) {
			t.Errorf("%s has a replace, with which `go install …@version` fails", path)
		}
	}
}
