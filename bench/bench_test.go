package bench_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/subject"
	"github.com/fenceline/fenceline/bench/subject/etcd"
	"github.com/fenceline/fenceline/bench/subject/local"
	"github.com/fenceline/fenceline/fence"
	"github.com/fenceline/fenceline/internal/etcdtest"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// small is a run of one cell against the shared etcd.
func small(t *testing.T, c bench.Cell, subjects ...bench.Subject) bench.Config {
	t.Helper()
	cfg := bench.Defaults()
	cfg.Etcd = clientv3.Config{Endpoints: []string{etcdtest.Shared(t).Endpoint()}, Logger: zap.NewNop()}
	cfg.Subjects = subjects
	cfg.Cells = []bench.Cell{c}
	cfg.Rounds = 1
	cfg.WarmUp = 10 * time.Millisecond
	cfg.Duration = 300 * time.Millisecond // etcd's Mutex waits on a tick of 100 ms: in less it may get nothing
	return cfg
}

func run(t *testing.T, cfg bench.Config) *bench.Result {
	t.Helper()
	r, err := bench.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// fake is a subject made of three functions.
type fake struct {
	name         string
	lock, unlock func(ctx context.Context) error
	token        func() fence.Token
	joined       func(bench.Place)
}

func (f *fake) Name() string                     { return f.name }
func (f *fake) Close(context.Context) error      { return nil }
func (f *fake) Unlock(ctx context.Context) error { return f.unlock(ctx) }
func (f *fake) Token() fence.Token               { return f.token() }

func (f *fake) Join(_ context.Context, p bench.Place) (bench.Contender, error) {
	f.joined(p)
	return f, nil
}

func (f *fake) Lock(ctx context.Context, _ *bench.Turn) error          { return f.lock(ctx) }
func (f *fake) Locker(context.Context, []string) (bench.Locker, error) { return f, nil }

// newFake is a good lock, to be broken.
func newFake(name string) *fake {
	var mu sync.Mutex
	var token fence.Token
	return &fake{
		name:   name,
		lock:   func(context.Context) error { mu.Lock(); token++; return nil },
		unlock: func(context.Context) error { mu.Unlock(); return nil },
		token:  func() fence.Token { return token },
		joined: func(bench.Place) {},
	}
}

func TestLockThatLetsTwoInFailsTheRun(t *testing.T) {
	broken := newFake("broken")
	free := func(context.Context) error { return nil }
	broken.lock, broken.unlock = free, free
	later := newFake("later")
	later.joined = func(bench.Place) { t.Error("the run goes on") }

	cell := bench.Cell{Contenders: 2, Goroutines: 1, Hold: time.Millisecond}
	r, err := bench.Run(t.Context(), small(t, cell, broken, later))
	var unsafe *bench.SafetyError
	if !errors.As(err, &unsafe) {
		t.Fatalf("got %v, want a SafetyError", err)
	}
	if unsafe.Subject != "broken" || unsafe.Cell != cell || unsafe.Overlaps == 0 || unsafe.LostUpdates == 0 {
		t.Errorf("got %+v, want overlaps and lost updates of broken", unsafe)
	}
	if len(r.Cells) != 1 || r.Cells[0].Subjects[0].Safety != unsafe.Safety {
		t.Errorf("the result does not show it: %+v", r.Cells)
	}
}

func TestFencedRunFailsOnTokensThatDoNotGrow(t *testing.T) {
	for what, tokens := range map[string]func() fence.Token{
		"repeated": func() fence.Token { return 7 },
		"stale":    func() func() fence.Token { n := fence.Token(1 << 40); return func() fence.Token { n--; return n } }(),
	} {
		f := newFake(what)
		f.token = tokens
		_, err := bench.Run(t.Context(), small(t, bench.Cell{Contenders: 2, Goroutines: 1, Fenced: true}, f))
		var unsafe *bench.SafetyError
		if !errors.As(err, &unsafe) || (unsafe.StaleTokens == 0) != (what == "repeated") || (unsafe.RepeatedTokens == 0) != (what == "stale") {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

func TestUnfencedRunNeverLooksAtAToken(t *testing.T) {
	f := newFake("shy")
	f.token = func() fence.Token { t.Error("looked"); return 0 }
	run(t, small(t, bench.Cell{Contenders: 2, Goroutines: 2}, f))
}

func TestOrderOfSubjectsAlternates(t *testing.T) {
	var order []string
	a, b := newFake("a"), newFake("b")
	a.joined = func(bench.Place) { order = append(order, "a") }
	b.joined = func(bench.Place) { order = append(order, "b") }
	cfg := small(t, bench.Cell{Contenders: 1, Goroutines: 1}, a, b)
	cfg.Rounds, cfg.Duration = 3, 20*time.Millisecond
	run(t, cfg)
	if want := []string{"a", "b", "b", "a", "a", "b"}; !slices.Equal(order, want) {
		t.Errorf("got %v, want %v", order, want)
	}
}

func TestEtcdMutexCostsTwoProposalsUncontended(t *testing.T) {
	r := run(t, small(t, bench.Cell{Contenders: 1, Goroutines: 1}, etcd.New()))
	m := r.Cells[0].Subjects[0]
	per := m.PerAcquisition
	// Either end may be one request away from the end of the hold, to either side.
	if slack := 2 / float64(m.Counted); m.Counted == 0 || per.Proposals < 2-slack || per.Proposals > 2+slack || per.Linearizable+per.Serializable+per.Events != 0 {
		t.Errorf("%+v over %d acquisitions, want 2 proposals and nothing else", per, m.Counted)
	}
}

func TestSubjectsExcludeWithAndWithoutFence(t *testing.T) {
	for _, fenced := range []bool{false, true} {
		cfg := small(t, bench.Cell{Contenders: 2, Goroutines: 2, Fenced: fenced}, subjects(t)...)
		cfg.Duration = 300 * time.Millisecond // etcd's Mutex starts each watch in the past: etcd serves those ten times a second
		for _, s := range run(t, cfg).Cells[0].Subjects {
			if s.Acquisitions == 0 || s.HandOver.Count == 0 || s.Acquire.P50 == 0 || s.LongestWait < s.Acquire.Max || s.Errors > 0 {
				t.Errorf("%s, fenced %v: %+v", s.Subject, fenced, s.Measures)
			}
		}
	}
}

func TestNothingStaysInEtcd(t *testing.T) {
	client := etcdtest.Shared(t).Client(t)
	leftovers := func(when string) {
		if keys := etcdtest.Keys(t, client, ""); len(keys) > 0 {
			t.Errorf("%s: keys stay: %q", when, keys)
		}
		if leases := etcdtest.Leases(t, client); len(leases) > 0 {
			t.Errorf("%s: leases stay: %v", when, leases)
		}
	}
	cell := bench.Cell{Contenders: 3, Goroutines: 2}
	run(t, small(t, cell, subjects(t)...))
	leftovers("after a run")
	for _, s := range subjects(t) {
		ctx, cancel := context.WithCancel(t.Context())
		cfg := small(t, cell, s)
		cfg.Duration = time.Minute
		cfg.Progress.Tick = func(bench.Tick) { cancel() }
		if r, _ := bench.Run(ctx, cfg); !r.Interrupted {
			t.Errorf("%s was not interrupted", s.Name())
		}
		leftovers("after an interrupted run of " + s.Name())
	}

	untidy := newFake("untidy")
	untidy.joined = func(p bench.Place) {
		if _, err := client.Put(t.Context(), p.Prefix+"left", ""); err != nil {
			t.Error(err)
		}
	}
	run(t, small(t, cell, untidy))
	leftovers("after a subject that leaves a key")
}

func subjects(t *testing.T) []bench.Subject {
	t.Helper()
	all, err := subject.ByName(subject.Names()...)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestCancelEndsTheRunAndKeepsWhatIsThere(t *testing.T) {
	reason := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cfg := small(t, bench.Cell{Contenders: 2, Goroutines: 1}, newFake("a"), newFake("b"))
	cfg.Duration = time.Minute
	cfg.Progress.Tick = func(tick bench.Tick) {
		if tick.Left > cfg.Estimate() || tick.Subject != "a" || tick.Round != 1 {
			t.Errorf("tick %+v", tick)
		}
		cancel(reason)
	}
	began := time.Now()
	r, err := bench.Run(ctx, cfg)
	if !errors.Is(err, reason) || !r.Interrupted {
		t.Errorf("error %v, interrupted %v", err, r.Interrupted)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
	if len(r.Cells) != 1 || len(r.Cells[0].Subjects) != 1 || r.Cells[0].Subjects[0].Acquisitions == 0 {
		t.Errorf("got %+v, want what a did", r.Cells)
	}
}

func TestUnreachableEtcdIsNamed(t *testing.T) {
	cfg := small(t, bench.Cell{Contenders: 1, Goroutines: 1}, local.New())
	cfg.Etcd.Endpoints = []string{"127.0.0.1:1"}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := bench.Run(ctx, cfg); err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("got %v", err)
	}
}

func TestSubjectThatOnlyFailsIsAnError(t *testing.T) {
	f := newFake("failing")
	f.lock = func(context.Context) error { return errors.New("no luck") }
	if _, err := bench.Run(t.Context(), small(t, bench.Cell{Contenders: 1, Goroutines: 1}, f)); err == nil || !strings.Contains(err.Error(), "no luck") {
		t.Errorf("got %v", err)
	}
}
