package rw

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
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

func TestSoManyOfAHundredTurnsRead(t *testing.T) {
	const draws = 20_000
	for _, share := range []int{0, 1, 50, 90, 99, 100} {
		referee, draw := Load{share}.Referee(bench.Cell{}), rand.New(rand.NewPCG(1, 2))
		reads := 0
		for range draws {
			var turn bench.Turn
			referee.Next(draw, &turn)
			if (turn.Mode == Read) != (turn.Units == 1) {
				t.Fatalf("turn %+v", turn)
			}
			if turn.Mode == Read {
				reads++
			}
		}
		if got := 100 * float64(reads) / draws; got < float64(share)-1 || got > float64(share)+1 || share%100 == 0 && got != float64(share) {
			t.Errorf("%v%% read, want %d%%", got, share)
		}
	}
}

func TestShareIsAPercentage(t *testing.T) {
	for share, want := range map[int]string{
		-1:  "bench: invalid setting: readers is -1, want a percentage from 0 to 100",
		101: "bench: invalid setting: readers is 101, want a percentage from 0 to 100",
	} {
		if err := (Load{share}).Validate(); !errors.Is(err, bench.ErrInvalid) || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if err := errors.Join(Load{0}.Validate(), Load{100}.Validate()); err != nil {
		t.Error(err)
	}
}

// run measures one cell of four contenders that hold for a millisecond.
func run(t *testing.T, readers int, s bench.Subject) (bench.SubjectResult, error) {
	t.Helper()
	cfg := bench.Defaults()
	cfg.Etcd = clientv3.Config{Endpoints: []string{etcdtest.Shared(t).Endpoint()}, Logger: zap.NewNop()}
	cfg.Subjects = []bench.Subject{s}
	cfg.Cells = []bench.Cell{{Contenders: 4, Goroutines: 1, Hold: time.Millisecond, Load: Load{readers}}}
	cfg.Rounds = 1
	cfg.WarmUp = 10 * time.Millisecond
	cfg.Duration = 200 * time.Millisecond
	r, err := bench.Run(t.Context(), cfg)
	if r == nil || len(r.Cells) == 0 {
		t.Fatal(err)
	}
	return r.Cells[0].Subjects[0], err
}

// free lets in whom it does not lock.
type free struct {
	bench.Locker
	lets int // this mode
	mode int
}

func (f *free) Lock(ctx context.Context, t *bench.Turn) error {
	f.mode = t.Mode
	if f.mode == f.lets {
		return nil
	}
	return f.Locker.Lock(ctx, t)
}

func (f *free) Unlock(ctx context.Context) error {
	if f.mode == f.lets {
		return nil
	}
	return f.Locker.Unlock(ctx)
}

// letting is a lock that lets every turn of a mode in.
func letting(mode int) bench.Subject {
	return local.With(func([]string) func() bench.Locker {
		rw := newLocal()
		return func() bench.Locker { return &free{Locker: rw(), lets: mode} }
	})
}

func TestReaderBesideAWriterFailsTheRun(t *testing.T) {
	var unsafe *bench.SafetyError
	if _, err := run(t, 50, letting(Read)); !errors.As(err, &unsafe) || unsafe.Overlaps == 0 || unsafe.TornReads == 0 || unsafe.LostUpdates > 0 {
		t.Errorf("got %v, want overlaps and torn reads, and no lost updates: writers are alone", err)
	}
}

func TestWriterBesideAnybodyFailsTheRun(t *testing.T) {
	var unsafe *bench.SafetyError
	if _, err := run(t, 50, letting(Write)); !errors.As(err, &unsafe) || unsafe.Overlaps == 0 || unsafe.LostUpdates == 0 {
		t.Errorf("got %v, want overlaps and lost updates", err)
	}
}

// meeting lets everybody in, and nobody out before two were inside.
type meeting struct {
	inside atomic.Int32
	met    chan struct{}
}

func (m *meeting) Lock(context.Context, *bench.Turn) error {
	if m.inside.Add(1) == 2 {
		close(m.met)
	}
	return nil
}

func (m *meeting) Unlock(ctx context.Context) error {
	select {
	case <-m.met:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestReadersMayBeInsideTogether(t *testing.T) {
	s, err := run(t, 100, local.With(func([]string) func() bench.Locker {
		m := &meeting{met: make(chan struct{})}
		return func() bench.Locker { return m }
	}))
	if err != nil {
		t.Fatal(err)
	}
	if s.Acquisitions == 0 || s.Errors > 0 {
		t.Errorf("%d reads, %d errors: %s", s.Acquisitions, s.Errors, s.FirstError)
	}
	if s.Modes[Read].Acquisitions != s.Acquisitions || s.Modes[Write].Acquisitions != 0 || s.HandOver.Count != 0 {
		t.Errorf("modes %+v and %d hand-overs of %d reads", s.Modes, s.HandOver.Count, s.Acquisitions)
	}
}

// etcd's recipe does not look at its own key again: who has lost it while he waited is let in all the same.
func TestEtcdLockThatOutlastsItsContextIsNoGrant(t *testing.T) {
	server, ctx := etcdtest.Shared(t), t.Context()
	client := server.Client(t)
	place := bench.Place{
		Etcd:   clientv3.Config{Endpoints: []string{server.Endpoint()}, Logger: zap.NewNop()},
		Prefix: etcdtest.Name(t) + "/",
		TTL:    10 * time.Second,
	}
	contender, err := subjects["etcd"]().Join(ctx, place)
	if err != nil {
		t.Fatal(err)
	}
	defer contender.Close(ctx)
	var lockers [2]bench.Locker
	for i := range lockers {
		if lockers[i], err = contender.Locker(ctx, Load{}.About().Names); err != nil {
			t.Fatal(err)
		}
	}
	queued := func(n int) {
		t.Helper()
		etcdtest.Eventually(t, 10*time.Second, "a change of the line", func() bool {
			return len(etcdtest.Keys(t, client, place.Prefix)) == n
		})
	}
	turn := &bench.Turn{Mode: Write}
	if err := lockers[0].Lock(ctx, turn); err != nil {
		t.Fatal(err)
	}
	waiting, stop := context.WithCancel(ctx)
	late := make(chan error)
	go func() { late <- lockers[1].Lock(waiting, turn) }()
	queued(2)
	stop()
	if err := lockers[0].Unlock(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-late; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	queued(0)
}
