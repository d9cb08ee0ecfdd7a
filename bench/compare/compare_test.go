package compare

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/fenceline/fenceline/bench"
)

// result is a run of one cell with these subjects, of so many contenders.
func result(contenders int, subjects map[string]bench.Measures) *bench.Result {
	cell := bench.CellResult{Cell: bench.Cell{Contenders: contenders, Goroutines: 1}, Workload: "mutex"}
	for name, m := range subjects {
		cell.Subjects = append(cell.Subjects, bench.SubjectResult{Subject: name, Measures: m})
	}
	return &bench.Result{Cells: []bench.CellResult{cell}}
}

func measured(rate float64, p99 time.Duration, events float64) bench.Measures {
	return bench.Measures{Acquisitions: 10, Rate: rate, Jain: 1, Acquire: bench.Latency{Count: 10, P99: p99}, PerAcquisition: bench.PerAcquisition{Events: events}}
}

func TestRegressionIsWhatIsWorseByMoreThanTheLimit(t *testing.T) {
	for what, c := range map[string]struct {
		limits     string
		was, is    bench.Measures
		regression bool
	}{
		"the same":               {"p99=0%", measured(100, 10, 1), measured(100, 10, 1), false},
		"slower, within":         {"p99=10%", measured(100, 100, 1), measured(100, 110, 1), false},
		"slower, beyond":         {"p99=10%", measured(100, 100, 1), measured(100, 111, 1), true},
		"faster":                 {"p99=10%", measured(100, 100, 1), measured(100, 10, 1), false},
		"fewer a second, within": {"rate=5%", measured(100, 1, 1), measured(95, 1, 1), false},
		"fewer a second, beyond": {"rate=5%", measured(100, 1, 1), measured(94, 1, 1), true},
		"more a second":          {"rate=5%", measured(100, 1, 1), measured(200, 1, 1), false},
		"of several, one":        {"rate=5%,events=50%", measured(100, 1, 1), measured(100, 1, 2), true},
		"from nothing":           {"events=50%", measured(100, 1, 0), measured(100, 1, 0.1), true},
		"no limit for it":        {"jain=1%", measured(100, 1, 1), measured(1, 100, 9), false},
	} {
		limits, err := ParseLimits(c.limits)
		if err != nil {
			t.Fatal(err)
		}
		r := Results(result(2, map[string]bench.Measures{"a": c.was}), result(2, map[string]bench.Measures{"a": c.is}), []string{"rate", "p99"}, limits)
		if got := r.Regressions() > 0; got != c.regression {
			t.Errorf("%s: %+v", what, r.Changes)
		}
	}
}

func TestWhatIsInOneResultOnlyIsNamed(t *testing.T) {
	old := result(2, map[string]bench.Measures{"a": measured(1, 1, 1), "b": measured(1, 1, 1)})
	r := Results(old, result(2, map[string]bench.Measures{"b": measured(1, 1, 1), "c": measured(1, 1, 1)}), []string{"rate"}, nil)
	if len(r.Changes) != 1 || strings.Join(r.Missing, ",") != "2 a" || strings.Join(r.Added, ",") != "2 c" {
		t.Errorf("%+v", r)
	}
	r = Results(old, result(8, map[string]bench.Measures{"a": measured(1, 1, 1)}), []string{"rate"}, nil)
	if len(r.Changes) != 0 || len(r.Missing) != 2 || strings.Join(r.Added, ",") != "8 a" {
		t.Errorf("another cell: %+v", r)
	}
}

func TestWhatWasNotMeasuredIsNoChange(t *testing.T) {
	without := measured(1, 1, 1)
	without.Acquire.Count = 0
	r := Results(result(2, map[string]bench.Measures{"a": without}), result(2, map[string]bench.Measures{"a": measured(1, 5, 1)}), []string{"p99"}, Limits{"p99": 0})
	if len(r.Changes) != 0 {
		t.Errorf("%+v", r)
	}
}

func TestLimitsThatCannotBeAreRefused(t *testing.T) {
	for text, want := range map[string]string{"": `""`, "p99": `"p99"`, "p99=10": `"p99=10"`, "p99=-1%": `"p99=-1%"`, "p99=x%": `"p99=x%"`, "p99=1%,p99=2%": "p99 is there twice", "rate=100%": "rate is 100%, want less than 100%", "p98=1%": `"p98", want one of bytes, cpu, events, hand-over-p50`} {
		if _, err := ParseLimits(text); !errors.Is(err, bench.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	limits, err := ParseLimits("p99=10%, rate=2.5%")
	if err != nil || !maps.Equal(limits, Limits{"p99": 0.1, "rate": 0.025}) {
		t.Errorf("%v, %v", limits, err)
	}
}

func TestProbesAreComparedByNameSettingAndSubject(t *testing.T) {
	run := func(rows ...bench.Row) *bench.Result { return &bench.Result{Probes: rows} }
	kill := func(ttl string, median time.Duration) bench.Row {
		return bench.Row{Measure: "kill", Setting: ttl, Subject: "a", Count: 1, Median: median}
	}
	memory := func(v float64) bench.Row { return bench.Row{Measure: "memory", Subject: "a", Value: v, Unit: "MiB"} }
	r := Results(run(kill("5s", 100), kill("2s", 100), memory(4)), run(kill("5s", 130), memory(3), kill("9s", 1)), []string{Probes}, Limits{Probes: 0.2})
	if len(r.Changes) != 2 || !r.Changes[0].TooFar || !r.Changes[0].Time() || r.Changes[1].TooFar || r.Changes[1].Time() {
		t.Errorf("changes %+v", r.Changes)
	}
	if strings.Join(r.Missing, ",") != "kill 2s a" || strings.Join(r.Added, ",") != "kill 9s a" {
		t.Errorf("missing %q, added %q", r.Missing, r.Added)
	}
	if r := Results(run(kill("5s", 100)), run(kill("5s", 130)), []string{"rate"}, nil); len(r.Changes) != 0 {
		t.Errorf("not asked for: %+v", r.Changes)
	}
}

func TestLimitWithNothingToCompareIsNamed(t *testing.T) {
	r := result(2, map[string]bench.Measures{"a": measured(1, 1, 1)})
	if c := Results(r, r, []string{"rate"}, Limits{"rate": 0, Probes: 0}); strings.Join(c.Unchecked, ",") != Probes {
		t.Errorf("unchecked %q", c.Unchecked)
	}
	if c := Results(r, result(8, map[string]bench.Measures{"a": measured(1, 1, 1)}), nil, Limits{"rate": 0}); strings.Join(c.Unchecked, ",") != "rate" {
		t.Errorf("no cell in common: unchecked %q", c.Unchecked)
	}
}

func TestRunsThatAreHardToCompareAreSaidToBe(t *testing.T) {
	a, b := result(2, nil), result(2, nil)
	if c := Results(a, b, nil, nil); len(c.Unlike) > 0 {
		t.Errorf("alike: %q", c.Unlike)
	}
	a.Environment.Members, b.Environment.Members = 1, 3
	b.Settings.Conditions = []string{"500 puts/s", "delay 1ms"}
	a.Settings.Duration, b.Settings.Duration = time.Second, 2*time.Second
	b.Interrupted = true
	want := "the new run was interrupted; members: 1, then 3; conditions: none, then 500 puts/s, delay 1ms; duration: 1s, then 2s"
	if got := strings.Join(Results(a, b, nil, nil).Unlike, "; "); got != want {
		t.Errorf("%s", got)
	}
}
