package bench_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/fenceline/fenceline/bench"
)

// wrong is a workload of two names whose turns are all the same.
type wrong struct {
	about *bench.About
	turn  *bench.Turn
}

func (w wrong) About() bench.About                       { return *w.about }
func (w wrong) Validate() error                          { return nil }
func (w wrong) Referee(bench.Cell) bench.Referee         { return &wrongReferee{bench.NewGauge(2, 3), *w.turn} }
func (r *wrongReferee) Next(_ *rand.Rand, t *bench.Turn) { *t = r.turn }

type wrongReferee struct {
	*bench.Gauge
	turn bench.Turn
}

func aboutWrong() bench.About {
	return bench.About{Workload: "wrong", Unit: "turn", Names: []string{"a", "b"}}
}

// A turn that takes nothing is watched by nobody: a run of such turns would pass with any lock.
func TestTurnThatCannotBeEndsTheRun(t *testing.T) {
	for want, turn := range map[string]bench.Turn{
		"takes 0 units, want 1 or more":                        {Names: []int{0}},
		"takes 4 units, and its gauge has room for 3":          {Units: 4, Names: []int{0}},
		"takes no names, want 1 or more":                       {Units: 1},
		"takes names [2], want ascending indexes into its 2":   {Units: 1, Names: []int{2}},
		"takes names [-1], want ascending indexes into its 2":  {Units: 1, Names: []int{-1}},
		"takes names [0 0], want ascending indexes into its 2": {Units: 1, Names: []int{0, 0}},
		"takes names [1 0], want ascending indexes into its 2": {Units: 1, Names: []int{1, 0}},
		"has mode 1, want an index into its 0 modes":           {Units: 1, Mode: 1, Names: []int{0}},
	} {
		about := aboutWrong()
		f := newFake("a")
		cfg := small(t, bench.Cell{Contenders: 2, Goroutines: 2, Load: wrong{&about, &turn}}, f)
		cfg.Duration = time.Minute
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		_, err := bench.Run(ctx, cfg)
		cancel()
		if !errors.Is(err, bench.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestWorkloadThatReportsCannotNameIsInvalid(t *testing.T) {
	for want, spoil := range map[string]func(*bench.About){
		`workload is "", want one word`:             func(a *bench.About) { a.Workload = "" },
		`workload is "two words", want one word`:    func(a *bench.About) { a.Workload = "two words" },
		"unit of workload wrong is empty":           func(a *bench.About) { a.Unit = "" },
		"workload wrong has no names":               func(a *bench.About) { a.Names = nil },
		`name "a" of workload wrong is there twice`: func(a *bench.About) { a.Names = []string{"a", "b", "a"} },
	} {
		about := aboutWrong()
		spoil(&about)
		cfg := small(t, bench.Cell{Contenders: 1, Goroutines: 1, Load: wrong{about: &about}}, newFake("a"))
		if err := cfg.Validate(); !errors.Is(err, bench.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	cfg := small(t, bench.Cell{Contenders: 1, Goroutines: 1, Load: listed{names: []string{"a"}}}, newFake("a"))
	if err := cfg.Validate(); !errors.Is(err, bench.ErrInvalid) || !strings.Contains(err.Error(), "is a bench_test.listed, want a value that can be compared") {
		t.Errorf("got %v", err)
	}
}

// listed is a workload whose settings cannot be compared.
type listed struct {
	wrong
	names []string
}

func (l listed) About() bench.About {
	return bench.About{Workload: "listed", Unit: "turn", Names: l.names}
}

func TestCellThatIsThereTwiceIsInvalid(t *testing.T) {
	cell := bench.Cell{Contenders: 1, Goroutines: 1}
	cfg := small(t, cell, newFake("a"))
	cfg.Cells = append(cfg.Cells, cell)
	if err := cfg.Validate(); !errors.Is(err, bench.ErrInvalid) || !strings.Contains(err.Error(), "cell 1 is there twice") {
		t.Errorf("got %v", err)
	}
}

func TestSubjectThatTakesNothingDoesNotKeepTheOthersFromBeingMeasured(t *testing.T) {
	stuck, fine := newFake("stuck"), newFake("fine")
	stuck.lock = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	cfg := small(t, bench.Cell{Contenders: 1, Goroutines: 1}, stuck, fine)
	cfg.Cells = append(cfg.Cells, bench.Cell{Contenders: 2, Goroutines: 1})
	cfg.Rounds, cfg.Duration = 2, 100*time.Millisecond
	r, err := bench.Run(t.Context(), cfg)
	if err == nil || strings.Count(err.Error(), "stuck took no lock in cell") != 2 || !strings.Contains(err.Error(), "no error was met") {
		t.Errorf("got %v", err)
	}
	if len(r.Cells) != 2 {
		t.Fatalf("cells %+v", r.Cells)
	}
	for _, c := range r.Cells {
		if len(c.Subjects) != 2 || c.Subjects[0].Acquisitions != 0 || c.Subjects[1].Acquisitions == 0 {
			t.Errorf("subjects %+v", c.Subjects)
		}
	}
}
