package sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	seed  = flag.Uint64("sim.seed", 0, "the one seed to run, with its transcript; 0: many")
	first = flag.Uint64("sim.first", 1, "the first of many seeds")
	many  = flag.Int("sim.seeds", defaultSeeds, "how many")
	named = flag.String("sim.scenario", "", "one of scenarios.go")
	share = flag.Bool("sim.share", false, "this process runs them by itself, and prints what came of it")
)

// result is what a process prints of its share.
type result struct {
	Seeds, Requests int
	Counts          map[string]int
	Violations      map[uint64][]string
}

func (r *result) add(o *result) {
	r.Seeds, r.Requests = r.Seeds+o.Seeds, r.Requests+o.Requests
	for name, n := range o.Counts {
		r.Counts[name] += n
	}
	for seed, v := range o.Violations {
		r.Violations[seed] = v
	}
}

func (r *result) violations() map[uint64][]string {
	if r == nil {
		return nil
	}
	return r.Violations
}

func newResult() *result { return &result{Counts: map[string]int{}, Violations: map[uint64][]string{}} }

// run runs one seed in a bubble.
func run(t *testing.T, seed uint64) (report *Report) {
	t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { report = Run(t, *named, seed) })
	})
	return report
}

// TestSeeds runs many, on all processors: each share in a process with one, where a seed repeats best. Flags have it run one, or be the
// process of a share.
func TestSeeds(t *testing.T) {
	switch {
	case *seed != 0:
		runOne(t)
	case *share:
		runAll(t)
	case *named != "":
		shareOut(t, *named, *many)
	default:
		shareOut(t, "", *many)
	}
}

// TestScenarios runs some seeds of each that has a name.
func TestScenarios(t *testing.T) {
	if *seed != 0 || *share || *many != defaultSeeds {
		t.Skip("asked for something else")
	}
	for _, name := range slices.Sorted(maps.Keys(scenarios)) {
		if name != "" {
			t.Run(name, func(t *testing.T) { shareOut(t, name, max(defaultSeeds/50, 4)) })
		}
	}
}

// runOne runs the one of -sim.seed, and prints all that happened.
func runOne(t *testing.T) {
	report := run(t, *seed)
	fmt.Println(report.Transcript())
	for _, v := range report.Violations {
		t.Error(v)
	}
}

// runAll is what a process does that has a share.
func runAll(t *testing.T) {
	all := newResult()
	for i := range *many {
		s := *first + uint64(i)
		r := run(t, s)
		if r == nil {
			all.Violations[s] = []string{"it did not end"}
			continue
		}
		one := &result{Seeds: 1, Requests: r.Requests, Counts: r.Counts, Violations: map[uint64][]string{}}
		if len(r.Violations) > 0 {
			one.Violations[s] = append(r.Violations, "transcript: "+keep(s, r.Transcript()))
		}
		all.add(one)
	}
	line, _ := json.Marshal(all) // numbers and words
	fmt.Printf("\nSHARE %s\n", line)
}

// keep writes the transcript of a seed that failed to a file: another run of it may fail in another way, or not at all.
func keep(seed uint64, transcript string) string {
	f, err := os.CreateTemp("", fmt.Sprintf("fenceline-seed-%d-*.txt", seed))
	if err != nil {
		return err.Error()
	}
	_, err = f.WriteString(transcript)
	if err := errors.Join(err, f.Close()); err != nil {
		return err.Error()
	}
	return f.Name()
}

func shareOut(t *testing.T, scenario string, many int) {
	const at = 20 // seeds that a process runs
	shares := make(chan uint64)
	go func() {
		defer close(shares)
		for i := 0; i < many; i += at {
			shares <- *first + uint64(i)
		}
	}()
	began, all := time.Now(), newResult()
	var mu sync.Mutex
	var workers sync.WaitGroup
	for range runtime.NumCPU() {
		workers.Go(func() {
			for from := range shares {
				n := min(at, many-int(from-*first))
				r, said := runShare(t, scenario, from, n)
				mu.Lock()
				if r == nil {
					t.Errorf("seeds from %d: %s", from, said)
				} else {
					all.add(r)
				}
				for s, said := range r.violations() { // at once, for who waits an hour for the rest
					t.Logf("%v: seed %d: %s", time.Since(began).Round(time.Second), s, said[0])
				}
				if done := all.Seeds; done/10000 > (done-n)/10000 {
					t.Logf("%v: %d seeds", time.Since(began).Round(time.Second), done)
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	took := time.Since(began)
	for i, s := range slices.Sorted(maps.Keys(all.Violations)) {
		again := ""
		if i < 5 {
			again = fmt.Sprintf(", which repeats in %d of 20 runs", repeats(t, scenario, s))
		}
		t.Errorf("seed %d%s:\n  %s\n  go test ./internal/sim -sim.scenario=%q -sim.seed=%d -v", s, again, strings.Join(all.Violations[s], "\n  "), scenario, s)
	}
	if scenario == "" && many >= 500 {
		for _, f := range allFaults {
			if all.Counts["fault: "+f.name] == 0 {
				t.Errorf("the fault %q never happened", f.name)
			}
		}
	}
	t.Logf("%d seeds in %v: %.1f/s, %d requests", all.Seeds, took.Round(time.Second), float64(all.Seeds)/took.Seconds(), all.Requests)
	for _, name := range slices.Sorted(maps.Keys(all.Counts)) {
		t.Logf("%9d %s", all.Counts[name], name)
	}
}

func runShare(t *testing.T, scenario string, from uint64, n int) (*result, string) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSeeds$", "-sim.share", "-sim.scenario="+scenario, fmt.Sprintf("-sim.first=%d", from), fmt.Sprintf("-sim.seeds=%d", n), "-test.timeout=10m", "-test.v")
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "GOGC=400") // a quarter of the time is the collector's else
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	_ = cmd.Run() // what it prints says more
	_, line, found := strings.Cut(out.String(), "\nSHARE ")
	r := newResult()
	if !found || json.Unmarshal([]byte(line[:strings.IndexByte(line, '\n')]), r) != nil {
		said := out.String()
		if i := strings.Index(said, "panic:"); i >= 0 { // before it, the seed that ran
			from := max(0, i-200)
			said = said[from:min(len(said), i+3000)]
		}
		return nil, said
	}
	return r, ""
}

// repeats is how often a seed that failed fails again.
func repeats(t *testing.T, scenario string, seed uint64) (n int) {
	for range 20 {
		if r, _ := runShare(t, scenario, seed, 1); r == nil || len(r.Violations) > 0 {
			n++
		}
	}
	return n
}
