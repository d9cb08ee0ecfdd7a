package bench_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fenceline/fenceline/bench"
)

// dice is a workload in a page: two modes, and a referee that keeps what was drawn.
type dice struct{ Sides int }

func (d dice) About() bench.About {
	return bench.About{Workload: "dice", Setting: fmt.Sprint(d.Sides), Unit: "throw", Modes: []string{"even", "odd"}, Names: []string{"table"}}
}

func (d dice) Validate() error {
	if d.Sides < 1 {
		return bench.Invalid("sides is %d, want at least 1", d.Sides)
	}
	return nil
}

func (d dice) Referee(bench.Cell) bench.Referee {
	return &diceReferee{Gauge: bench.NewGauge(1, 1), dice: d}
}

type diceReferee struct {
	*bench.Gauge
	dice
}

func (d *diceReferee) Next(r *rand.Rand, t *bench.Turn) {
	t.Mode, t.Units, t.Names = r.IntN(d.Sides)%2, 1, []int{0}
}

// recorder is a subject that knows which turns it was asked for.
type recorder struct {
	*fake
	mu    sync.Mutex
	modes []int
}

func (r *recorder) Join(context.Context, bench.Place) (bench.Contender, error) { return r, nil }
func (r *recorder) Locker(context.Context, []string) (bench.Locker, error)     { return r, nil }

func (r *recorder) Lock(ctx context.Context, t *bench.Turn) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.modes = append(r.modes, t.Mode)
	return nil
}

func (r *recorder) Unlock(context.Context) error { return nil }

func TestSubjectsSeeTheSameTurns(t *testing.T) {
	a, b := &recorder{fake: newFake("a")}, &recorder{fake: newFake("b")}
	play := func(seed uint64) ([]int, []int) {
		a.modes, b.modes = nil, nil
		cfg := small(t, bench.Cell{Contenders: 1, Goroutines: 1, Hold: 100 * time.Microsecond, Load: dice{6}}, a, b)
		cfg.Seed = seed
		run(t, cfg)
		n := min(50, len(a.modes), len(b.modes))
		if n < 20 {
			t.Fatalf("%d turns", n)
		}
		return a.modes[:n], b.modes[:n]
	}
	first, second := play(7)
	if !slices.Equal(first, second) {
		t.Errorf("a saw %v, b %v", first, second)
	}
	if other, _ := play(8); slices.Equal(other[:20], first[:20]) {
		t.Error("another seed has the same turns")
	}
}

func TestModesAreReportedApartAndAddUp(t *testing.T) {
	cfg := small(t, bench.Cell{Contenders: 2, Goroutines: 1, Load: dice{6}}, newFake("fair"))
	cfg.Rounds = 2
	s := run(t, cfg).Cells[0].Subjects[0]
	if len(s.Modes) != 2 || s.Modes[0].Mode != "even" || s.Modes[1].Mode != "odd" {
		t.Fatalf("modes %+v", s.Modes)
	}
	var sum int64
	for _, m := range s.Modes {
		sum += m.Acquisitions
		if m.Acquire.Count != m.Acquisitions || m.Acquire.P99 == 0 || m.LongestWait < m.Acquire.P99 || m.Rate < s.Rate/3 || m.Rate > s.Rate*2/3 {
			t.Errorf("of %v/s in all: %+v", s.Rate, m)
		}
	}
	if sum != s.Acquisitions {
		t.Errorf("modes have %d, all have %d", sum, s.Acquisitions)
	}
}

func TestResultNamesTheWorkloadAndItsSetting(t *testing.T) {
	r := run(t, small(t, bench.Cell{Contenders: 1, Goroutines: 1, Load: dice{6}}, newFake("a")))
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back struct {
		Cells []struct {
			Workload string
			Setting  dice
		}
	}
	if err := json.Unmarshal(text, &back); err != nil || back.Cells[0].Workload != "dice" || back.Cells[0].Setting.Sides != 6 {
		t.Errorf("%v: %+v", err, back)
	}
}

func TestSettingOfALoadIsValidated(t *testing.T) {
	cfg := small(t, bench.Cell{Contenders: 1, Goroutines: 1, Load: dice{0}}, newFake("a"))
	if err := cfg.Validate(); err == nil || err.Error() != "bench: invalid setting: sides is 0, want at least 1" {
		t.Error(err)
	}
	cfg.Cells[0] = bench.Cell{Contenders: 1, Goroutines: 1, Load: dice{6}, Fenced: true}
	if err := cfg.Validate(); err == nil {
		t.Error("a fenced cell of a load that has no fence")
	}
}

func TestListOfNumbersIsAFlag(t *testing.T) {
	parse := func(args ...string) ([]int, error) {
		f := flag.NewFlagSet("", flag.ContinueOnError)
		f.SetOutput(io.Discard)
		l := bench.Ints(f, "n", []int{1, 2}, "")
		err := f.Parse(args)
		return *l, err
	}
	for _, c := range []struct {
		args []string
		want []int
	}{
		{nil, []int{1, 2}},
		{[]string{"-n=3, 4"}, []int{3, 4}},
		{[]string{"-n=3", "-n=4,5"}, []int{3, 4, 5}},
	} {
		if got, err := parse(c.args...); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%q: %v, %v", c.args, got, err)
		}
	}
	for _, bad := range []string{"", "x", "1,,2", "1.5"} {
		if got, err := parse("-n=" + bad); err == nil {
			t.Errorf("%q is %v", bad, got)
		}
	}
}

var errNoLuck = errors.New("no luck")

// brittle is a lock that fails when told to.
type brittle struct {
	*fake
	held, fails bool
}

func (b *brittle) Lock(context.Context) error {
	if b.fails {
		return errNoLuck
	}
	b.held = true
	return nil
}

func (b *brittle) Unlock(ctx context.Context) error { b.held = false; return ctx.Err() }

func TestFailedLockInOrderGivesBackWhatItTook(t *testing.T) {
	a, b, c := &brittle{}, &brittle{fails: true}, &brittle{}
	l := bench.InOrder([]bench.Mutual{a, b, c})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Lock(ctx, &bench.Turn{Names: []int{0, 1, 2}}); !errors.Is(err, errNoLuck) || errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if a.held || c.held {
		t.Errorf("first held: %v, last held: %v", a.held, c.held)
	}
}

func TestSubjectWithoutTokensCannotBeFenced(t *testing.T) {
	s := &plain{newFake("plain")}
	if _, err := bench.Run(t.Context(), small(t, bench.Cell{Contenders: 1, Goroutines: 1, Fenced: true}, s)); err == nil {
		t.Error("no error")
	}
}

// plain hides the tokens of a fake.
type plain struct{ *fake }

func (p *plain) Join(context.Context, bench.Place) (bench.Contender, error) { return p, nil }

func (p *plain) Locker(context.Context, []string) (bench.Locker, error) {
	return struct{ bench.Locker }{p.fake}, nil
}
