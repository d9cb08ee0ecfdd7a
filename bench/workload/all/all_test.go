package all

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/subject/local"
	"github.com/fenceline/fenceline/internal/etcdtest"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEachSetIsDrawnEquallyOften(t *testing.T) {
	const draws = 15_000
	referee, draw := Load{Names: 6, Take: 4}.Referee(bench.Cell{}), rand.New(rand.NewPCG(1, 2))
	seen := map[string]int{}
	var turn bench.Turn
	for range draws {
		referee.Next(draw, &turn)
		if len(turn.Names) != 4 || !slices.IsSorted(turn.Names) || turn.Names[3] > 5 {
			t.Fatalf("turn %+v", turn)
		}
		seen[fmt.Sprint(turn.Names)]++
	}
	if len(seen) != 15 {
		t.Errorf("%d sets of 4 of 6, want 15", len(seen))
	}
	for set, n := range seen {
		if n < draws/15*8/10 || n > draws/15*12/10 {
			t.Errorf("set %s drawn %d times, want about %d", set, n, draws/15)
		}
	}
}

func TestSetIsPartOfTheNames(t *testing.T) {
	for load, want := range map[Load]string{
		{Names: 0, Take: 1}:    "bench: invalid setting: names is 0, want 1 to 1000",
		{Names: -1, Take: 1}:   "bench: invalid setting: names is -1, want 1 to 1000",
		{Names: 1001, Take: 1}: "bench: invalid setting: names is 1001, want 1 to 1000",
		{Names: 6, Take: 7}:    "bench: invalid setting: take is 7, want 1 to 6, the number of names",
		{Names: 6, Take: 0}:    "bench: invalid setting: take is 0, want 1 to 6, the number of names",
	} {
		if err := load.Validate(); !errors.Is(err, bench.ErrInvalid) || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if err := errors.Join(Load{1, 1}.Validate(), Load{6, 6}.Validate()); err != nil {
		t.Error(err)
	}
}

func run(t *testing.T, cell bench.Cell, s bench.Subject) (bench.SubjectResult, error) {
	t.Helper()
	cfg := bench.Defaults()
	cfg.Etcd = clientv3.Config{Endpoints: []string{etcdtest.Shared(t).Endpoint()}, Logger: zap.NewNop()}
	cfg.Subjects = []bench.Subject{s}
	cfg.Cells = []bench.Cell{cell}
	cfg.Rounds = 1
	cfg.WarmUp = 10 * time.Millisecond
	cfg.Duration = 200 * time.Millisecond
	r, err := bench.Run(t.Context(), cfg)
	if r == nil || len(r.Cells) == 0 {
		t.Fatal(err)
	}
	return r.Cells[0].Subjects[0], err
}

// forgetful leaves out the last name of each set.
type forgetful struct{ bench.Locker }

func (f forgetful) Lock(ctx context.Context, t *bench.Turn) error {
	part := *t
	part.Names = t.Names[:len(t.Names)-1]
	return f.Locker.Lock(ctx, &part)
}

func TestSetThatMissesOneNameFailsTheRun(t *testing.T) {
	s := local.With(func(names []string) func() bench.Locker {
		locker := local.InOrder(names)
		return func() bench.Locker { return forgetful{locker()} }
	})
	var unsafe *bench.SafetyError
	cell := bench.Cell{Contenders: 4, Goroutines: 1, Hold: time.Millisecond, Load: Load{Names: 6, Take: 2}}
	if _, err := run(t, cell, s); !errors.As(err, &unsafe) || unsafe.Overlaps == 0 || unsafe.LostUpdates == 0 {
		t.Errorf("got %v, want overlaps and lost updates", err)
	}
}

func TestSetsWithoutACommonNameAreHeldTogether(t *testing.T) {
	const hold = 40 * time.Millisecond // is long for any of them
	cell := bench.Cell{Contenders: 4, Goroutines: 1, Hold: hold, Load: Load{Names: 1000, Take: 1}}
	for _, name := range subjects.Names() {
		s, err := run(t, cell, subjects[name]())
		if err != nil {
			t.Fatal(err)
		}
		if one := 1 / hold.Seconds(); s.Rate < 1.5*one {
			t.Errorf("%s: %v sets a second by four contenders; one alone gets at most %v", name, s.Rate, one)
		}
	}
}

func TestUncontendedSetCostsAProposalEachWayAtOnceOrForEachName(t *testing.T) {
	const take = 4
	for name, want := range map[string]float64{"fenceline": 2, "fenceline-sorted": 2 * take, "etcd": 2 * take} {
		s, err := run(t, bench.Cell{Contenders: 1, Goroutines: 1, Load: Load{Names: 6, Take: take}}, subjects[name]())
		if err != nil {
			t.Fatal(err)
		}
		// The window may cut a set in two at either end.
		slack := (want + 1) / float64(s.Counted)
		if got := s.PerAcquisition; got.Proposals < want-slack || got.Proposals > want+slack || got.Linearizable+got.Serializable > 0 {
			t.Errorf("%s: %+v over %d sets, want %v proposals and no reads", name, got, s.Acquisitions, want)
		}
	}
}
