package cli

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/compare"
)

func resultFile(t *testing.T, rate float64) string {
	t.Helper()
	r := bench.Result{Schema: bench.Schema, Cells: []bench.CellResult{{Cell: bench.Cell{Contenders: 2, Goroutines: 1}, Workload: "mutex",
		Subjects: []bench.SubjectResult{{Subject: "fenceline", Measures: bench.Measures{Rate: rate}}}}}}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "result.json")
	writeFile(t, path, string(text))
	return path
}

func TestBenchCompareFailsWhenSomethingIsWorseThanAllowed(t *testing.T) {
	before, worse := resultFile(t, 1000), resultFile(t, 800)
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{before, worse}, 0},
		{[]string{before, worse, "--max-regression", "rate=30%"}, 0},
		{[]string{before, worse, "--max-regression", "rate=10%"}, 1},
		{[]string{worse, before, "--max-regression", "rate=10%"}, 0},
	} {
		code, stdout, stderr := fenceline(append([]string{"bench", "compare"}, c.args...)...)
		if code != c.code || !strings.Contains(stdout, "rate") || (code == 1) != strings.Contains(stdout, "too far") || (code == 1) != strings.Contains(stderr, "1 of 1") {
			t.Errorf("%q: code %d\n%s%s", c.args, code, stdout, stderr)
		}
	}
	_, stdout, _ := fenceline("bench", "compare", before, worse, "-o", "json")
	var got compare.Comparison
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || len(got.Changes) != 1 || got.Changes[0].Worse != 0.2 {
		t.Errorf("%v: %s", err, stdout)
	}
}

func TestBenchCompareNamesWhatIsNoResult(t *testing.T) {
	good, bad := resultFile(t, 1), filepath.Join(t.TempDir(), "bad.json")
	for text, want := range map[string]string{"{": "no result", `{"schema":"x"}`: `its schema is "x"`} {
		writeFile(t, bad, text)
		if code, _, stderr := fenceline("bench", "compare", good, bad); code != 1 || !strings.Contains(stderr, bad) || !strings.Contains(stderr, want) {
			t.Errorf("code %d, %s", code, stderr)
		}
	}
	for args, want := range map[string]string{"a": "NEW.json is missing", "a b --show x": `--show "x"`, "a b --max-regression x": "--max-regression", "a b --max-regression=": "--max-regression"} {
		if code, _, stderr := fenceline(append([]string{"bench", "compare"}, strings.Fields(args)...)...); code != 64 || !strings.Contains(stderr, want) {
			t.Errorf("%s: code %d, %s", args, code, stderr)
		}
	}
}

func TestBenchCompareFailsWhenItComparesNothing(t *testing.T) {
	full, empty := resultFile(t, 1000), filepath.Join(t.TempDir(), "empty.json")
	writeFile(t, empty, `{"schema":"`+bench.Schema+`"}`)
	for want, args := range map[string][]string{
		"nothing to compare":                             {full, empty},
		"nothing in both files to compare for probes":    {full, full, "--max-regression", "rate=5%,probes=5%"},
		"nothing in both files to compare for p99, rate": {full, empty, "--max-regression", "rate=5%,p99=5%"},
	} {
		if code, _, stderr := fenceline(append([]string{"bench", "compare"}, args...)...); code != 1 || !strings.Contains(stderr, want) {
			t.Errorf("%q: code %d, %s", args, code, stderr)
		}
	}
}
