package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/cost"
)

var update = flag.Bool("update", false, "write the files in testdata instead of comparing to them")

// result is a run with everything in it: two subjects, a cell that was cut short, errors.
func result() *bench.Result {
	latency := bench.Latency{Count: 3600, P50: 430 * time.Microsecond, P90: 610 * time.Microsecond, P99: 1200 * time.Microsecond, Max: 9 * time.Millisecond}
	fast := bench.Measures{
		Elapsed: 2 * time.Second, Acquisitions: 3600, Rate: 1800, Acquire: latency, HandOver: latency, Jain: 1, LongestWait: 9 * time.Millisecond,
		Counted:        3600,
		Cost:           cost.Count{Proposals: 7200, Serializable: 36, Watches: 1, Events: 10800, Sent: 720000, Received: 810000},
		PerAcquisition: bench.PerAcquisition{Proposals: 2, Serializable: 0.01, Events: 3, Bytes: 425, CPU: 210_000, Allocated: 9000},
		Succession:     &bench.Succession{Window: 2, Distinct: 1.9, Again: bench.Turns{Count: 3598, P50: 2, P99: 3, Max: 4}},
		Client:         bench.Usage{CPU: 756 * time.Millisecond, Allocated: 32_400_000, Heap: 4 << 20},
		Server: &bench.Server{Proposals: 7300, Fsyncs: 6000, FsyncMean: 250 * time.Microsecond, FsyncP99: 2 * time.Millisecond, CPU: time.Second,
			Memory: 50 << 20, Members: 1},
	}
	slow := fast
	slow.Rate, slow.Acquisitions, slow.Jain, slow.LongestWait = 22.5, 45, 0.98, 110*time.Millisecond
	slow.Acquire = bench.Latency{Count: 45, P50: 100 * time.Millisecond, P90: 101 * time.Millisecond, P99: 103 * time.Millisecond, Max: 110 * time.Millisecond}
	slow.Errors, slow.FirstError = 1, "mutex: session is expired"
	slow.Starved, slow.Succession, slow.Server = 1, &bench.Succession{Window: 2, Distinct: 1, Again: bench.Turns{Count: 40, P50: 1, P99: 9, Max: 9}}, nil
	local := bench.Measures{Elapsed: time.Second, Acquisitions: 1_800_000, Rate: 1.8e6, Jain: 1, LongestWait: 70 * time.Microsecond,
		Acquire: bench.Latency{Count: 1_800_000, P50: 97, P90: 650, P99: 30 * time.Microsecond, Max: 70 * time.Microsecond}}
	return &bench.Result{
		Schema:      bench.Schema,
		Started:     time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Finished:    time.Date(2026, 1, 2, 3, 4, 11, 0, time.UTC),
		Interrupted: true,
		Environment: bench.Environment{Go: "go1.26", OS: "linux", Arch: "amd64", CPU: "Some CPU", CPUs: 2, Etcd: "3.7.3",
			Endpoints: []string{"127.0.0.1:2379"}, Members: 1, Revision: 1,
			Put: &bench.Latency{Count: 200, P50: 380 * time.Microsecond, P90: 500 * time.Microsecond, P99: 900 * time.Microsecond, Max: 2 * time.Millisecond}},
		Settings: bench.Settings{Subjects: []string{"fenceline", "etcd"}, Rounds: 1, Duration: 2 * time.Second, WarmUp: 300 * time.Millisecond, TTL: 15 * time.Second},
		Cells: []bench.CellResult{
			{Cell: bench.Cell{Contenders: 2, Goroutines: 1}, Subjects: []bench.SubjectResult{
				{Subject: "fenceline", Measures: fast, Ratio: 80, Slowest: 1700, Fastest: 1800, Rounds: []bench.Measures{fast, slower(fast)}},
				{Subject: "etcd", Measures: slow, Ratio: 1, Rounds: []bench.Measures{slow}},
			}},
			{Cell: bench.Cell{Contenders: 1, Goroutines: 64, Hold: 10 * time.Millisecond, Fenced: true}, Subjects: []bench.SubjectResult{
				{Subject: "fenceline", Measures: local, Rounds: []bench.Measures{local}},
			}},
		},
		Probes: []bench.Row{
			{Measure: "kill -9 to next holder", Setting: "TTL 5s", Subject: "fenceline", Count: 3, Median: 4200 * time.Millisecond, P99: 5 * time.Second, Max: 5 * time.Second},
			{Measure: "kill -9 to next holder", Setting: "TTL 5s", Subject: "etcd", Count: 3, Median: 4300 * time.Millisecond, P99: 6100 * time.Millisecond,
				Max: 6100 * time.Millisecond, Remark: "1 later than TTL + 1s"},
			{Measure: "memory", Subject: "fenceline", Count: 10000, Value: 6.7, Unit: "MiB"},
			{Measure: "read from memory", Subject: "fenceline", Count: 200_000, Median: 15},
		},
	}
}

func slower(m bench.Measures) bench.Measures {
	m.Rate, m.Acquisitions = 1700, 3400
	return m
}

// modes is a run of a workload that tells two kinds of turns apart, one of which never came.
func modes() *bench.Result {
	r := result()
	r.Interrupted, r.Probes = false, nil
	r.Cells = r.Cells[:1]
	c := &r.Cells[0]
	c.Load, c.Workload, c.Setting = dice{}, "dice", dice{}
	for i := range c.Subjects {
		s := &c.Subjects[i]
		s.Modes = []bench.ModeMeasures{{Mode: "even", Acquisitions: s.Acquisitions, Rate: s.Rate, Acquire: s.Acquire, LongestWait: s.LongestWait}, {Mode: "odd"}}
		for i := range s.Rounds {
			s.Rounds[i].Modes = s.Modes
		}
	}
	return r
}

type dice struct{ bench.Mutex }

func (dice) About() bench.About {
	return bench.About{Workload: "dice", Setting: "6 sides", Unit: "throw", Modes: []string{"even", "odd"}}
}

func TestModesStandBelowTheirSubject(t *testing.T) {
	var b bytes.Buffer
	if err := Table(&b, modes()); err != nil {
		t.Fatal(err)
	}
	golden(t, "modes.txt", b.Bytes())
}

func TestModesAreInTheJSON(t *testing.T) {
	var b bytes.Buffer
	if err := JSON(&b, modes()); err != nil {
		t.Fatal(err)
	}
	golden(t, "modes.json", b.Bytes())
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; got:\n%s", name, got)
	}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	if err := Table(&b, result()); err != nil {
		t.Fatal(err)
	}
	golden(t, "table.txt", b.Bytes())
	for line := range strings.Lines(b.String()) {
		if n := len([]rune(line)); n > 155 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

// Programs read this. A change of the golden file is a new field, or a new schema.
func TestJSON(t *testing.T) {
	var b bytes.Buffer
	if err := JSON(&b, result()); err != nil {
		t.Fatal(err)
	}
	golden(t, "result.json", b.Bytes())
	var back bench.Result
	if err := json.Unmarshal(b.Bytes(), &back); err != nil || back.Schema != "fenceline.bench/v1" || back.Cells[0].Subjects[0].Acquire.P50 != 430*time.Microsecond {
		t.Errorf("does not come back: %v %+v", err, back)
	}
}

func TestGoBenchIsWhatBenchstatReads(t *testing.T) {
	r := result()
	r.Cells = append(r.Cells, modes().Cells...)
	r.Cells[0].Subjects[1].Rounds = append(r.Cells[0].Subjects[1].Rounds, bench.Measures{}) // cut off before anything was taken
	var b bytes.Buffer
	if err := GoBench(&b, r); err != nil {
		t.Fatal(err)
	}
	setting, name := regexp.MustCompile(`^[a-z][a-z0-9-]*: \S`), regexp.MustCompile(`^Benchmark(Lock|Dice/setting=6_sides|Probe)(/[a-z]+=[^/\s]+)+-2$`)
	benchmarks := 0
	for line := range strings.Lines(b.String()) {
		if setting.MatchString(line) {
			continue
		}
		benchmarks++
		fields := strings.Fields(line)
		if !name.MatchString(fields[0]) || len(fields)%2 != 0 {
			t.Errorf("not a benchmark: %s", line)
		}
		if _, err := strconv.Atoi(fields[1]); err != nil {
			t.Errorf("iterations: %v", err)
		}
		units := map[string]bool{}
		for i := 2; i < len(fields); i += 2 {
			if _, err := strconv.ParseFloat(fields[i], 64); err != nil || units[fields[i+1]] {
				t.Errorf("value %s of unit %s: %v", fields[i], fields[i+1], err)
			}
			units[fields[i+1]] = true
		}
		if strings.HasPrefix(line, "BenchmarkProbe") {
			if !units["ns/op"] || units["acq/s"] {
				t.Errorf("units %v", units)
			}
			continue
		}
		if !units["ns/op"] || !units["acq/s"] || units["even/s"] != strings.Contains(line, "Dice") || units["odd/s"] {
			t.Errorf("units %v", units)
		}
	}
	if benchmarks != 4+3+3 {
		t.Errorf("%d lines for 7 rounds and 3 times", benchmarks)
	}
}

func TestDurationsHaveThreeDigits(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0ns": 0, "999ns": 999, "1.00µs": 1000, "10.0µs": 9996, "430µs": 430_000, "1000µs": 999_999, "1.20ms": 1_200_000,
		"99.6ms": 99_600_000, "1.50s": 1_500_000_000, "600s": 10 * time.Minute,
	} {
		if got := duration(d); got != want {
			t.Errorf("%d: %s, want %s", d, got, want)
		}
	}
}

func TestProgressSaysWhereAndHowLong(t *testing.T) {
	cell := bench.Cell{Contenders: 1, Goroutines: 64, Hold: time.Millisecond, Fenced: true}
	var b bytes.Buffer
	live, done := Live(&b, func() int { return 0 })
	live.Tick(bench.Tick{Cell: cell, Subject: "etcd", Round: 2, Left: 61400 * time.Millisecond, Rate: 321.4})
	live.Probe(bench.Step{Text: "weighs", Left: 2100 * time.Millisecond})
	done()
	if want := eraseLine + "1m1s left · 321 acquisitions/s · etcd, round 2 · 1 contender × 64 goroutines, hold 1ms, fenced" + eraseLine + "2s left · weighs" + eraseLine; b.String() != want {
		t.Errorf("got %q", b.String())
	}
	b.Reset()
	for _, c := range result().Cells {
		Lines(&b).Cell(c)
	}
	if want := "2 contenders: fenceline 1800/s, etcd 22.5/s\n1 contender × 64 goroutines, hold 10ms, fenced: fenceline 1.80M/s\n"; b.String() != want {
		t.Errorf("got %q", b.String())
	}
}
