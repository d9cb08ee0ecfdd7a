package bench_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fenceline/fenceline/bench"
)

// together is a load whose turns need each other.
type together struct{ bench.Mutex }

func (together) About() bench.About {
	return bench.About{Workload: "together", Unit: "turn", Names: []string{"one"}, Together: true}
}

// abreast counts who has begun a round and who has ended it.
type abreast struct {
	*fake
	begun, ended atomic.Int64
	apart        atomic.Int64 // begun before all of the last round had ended
	fail         func(round int64) error
}

func (a *abreast) Join(context.Context, bench.Place) (bench.Contender, error) {
	a.begun.Store(0)
	a.ended.Store(0)
	return a, nil
}
func (a *abreast) Locker(context.Context, []string) (bench.Locker, error) {
	return &abreastLocker{abreast: a}, nil
}

type abreastLocker struct {
	*abreast
	round int64
}

func (l *abreastLocker) Lock(ctx context.Context, t *bench.Turn) error {
	if err := l.fail(l.round); err != nil {
		return err
	}
	if l.ended.Load() < 3*l.round {
		l.apart.Add(1)
	}
	l.round++
	l.begun.Add(1)
	for l.begun.Load() < 3*l.round { // until all are in
		if ctx.Err() != nil {
			return ctx.Err()
		}
		time.Sleep(10 * time.Microsecond)
	}
	return l.fake.Lock(ctx, t)
}

func (l *abreastLocker) Unlock(ctx context.Context) error {
	defer l.ended.Add(1)
	return l.fake.Unlock(ctx)
}

func newAbreast() *abreast {
	return &abreast{fake: newFake("abreast"), fail: func(int64) error { return nil }}
}

func TestTurnsThatNeedEachOtherBeginAndEndTogether(t *testing.T) {
	a := newAbreast()
	began := time.Now()
	r := run(t, small(t, bench.Cell{Contenders: 3, Goroutines: 1, Load: together{}}, a))
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("took %v: somebody waited for others who had gone", took)
	}
	m := r.Cells[0].Subjects[0]
	if a.apart.Load() > 0 || a.begun.Load() != a.ended.Load() || m.Acquisitions < 3 || m.Jain < 0.9 {
		t.Errorf("%d were ahead; %d began and %d ended; %+v", a.apart.Load(), a.begun.Load(), a.ended.Load(), m)
	}
}

// One that fails comes again: the others wait inside for it.
func TestTurnThatFailedIsTakenAgainBeforeTheNextRound(t *testing.T) {
	a := newAbreast()
	var failed atomic.Bool
	a.fail = func(round int64) error {
		if round == 2 && failed.CompareAndSwap(false, true) {
			return errors.New("bad luck")
		}
		return nil
	}
	r := run(t, small(t, bench.Cell{Contenders: 3, Goroutines: 1, Load: together{}}, a))
	if m := r.Cells[0].Subjects[0]; m.Errors != 1 || m.Acquisitions < 9 || a.apart.Load() > 0 {
		t.Errorf("%d were ahead; %+v", a.apart.Load(), m)
	}
}

func TestTurnsThatNeedEachOtherHaveNoRate(t *testing.T) {
	cfg := small(t, bench.Cell{Contenders: 3, Goroutines: 1, Rate: 5, Load: together{}}, newAbreast())
	if err := cfg.Validate(); !errors.Is(err, bench.ErrInvalid) {
		t.Errorf("%v", err)
	}
}
