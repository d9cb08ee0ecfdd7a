package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

func TestBenchRefusesFilesBeforeTheRun(t *testing.T) {
	t.Chdir(t.TempDir())
	for args, want := range map[string]string{
		"--csv=":                    "--csv is empty",
		"--html -":                  "--html -: stdout has the report",
		"--csv a --html ./a":        "--html and --csv are both a",
		"--html a --csv no/such/b":  "--csv: open no/such/b",
		"--contenders 1,1":          "cell 1 is there twice",
		"--redis nope":              `--redis "nope": want host:port`,
		"--postgres nope":           "--postgres: want a URL",
		"--subjects redsync-memory": "come with --rivals",
	} {
		code, _, stderr := fenceline(append([]string{"bench"}, strings.Fields(args)...)...)
		if code != 64 || !strings.Contains(stderr, want) {
			t.Errorf("%s: code %d, %s", args, code, stderr)
		}
	}
	if left, _ := os.ReadDir("."); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestBenchWritesRowsToAPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	code, _, stderr := fenceline("bench", "--endpoints", etcdtest.Shared(t).Endpoint(), "--contenders", "1", "--rounds", "1", "--duration", "300ms",
		"--subjects", "fenceline", "--csv", fmt.Sprintf("/proc/self/fd/%d", w.Fd()))
	w.Close()
	rows, err := io.ReadAll(r)
	if code != 0 || err != nil || strings.Count(string(rows), "\n") != 3 {
		t.Errorf("code %d, %v: %s\n%s", code, err, stderr, rows)
	}
	if !strings.Contains(stderr, "Measuring the etcd at ") {
		t.Errorf("it does not say what it measures: %s", stderr)
	}
}
