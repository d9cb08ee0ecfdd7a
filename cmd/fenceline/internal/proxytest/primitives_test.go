package proxytest

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fenceline/fenceline/barrier"
	"github.com/fenceline/fenceline/cron"
	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/registry"
	"github.com/fenceline/fenceline/semaphore"
	"github.com/fenceline/fenceline/session"
)

// prompt is how soon a change has to be seen: where a watch is silent, it takes five seconds and more.
const prompt = 4 * time.Second

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// two are two processes behind the proxy.
func two(t *testing.T) (m *etcdtest.Member, a, b *session.Session) {
	m = etcdtest.Start(t)
	p := startProxy(t, m)
	return m, open(t, p.client(t, m)), open(t, p.client(t, m))
}

// releaser is a hold of any kind.
type releaser interface{ Release(context.Context) error }

func TestHoldersHandOverPromptlyThroughTheProxy(t *testing.T) {
	t.Parallel()
	m, a, b := two(t)
	direct := m.Client(t)
	for name, acquire := range map[string]func(context.Context, *session.Session) (releaser, error){
		"lock": func(ctx context.Context, s *session.Session) (releaser, error) { return lock.New(s, "x").Acquire(ctx) },
		"rwlock": func(ctx context.Context, s *session.Session) (releaser, error) {
			return lock.NewRW(s, "x").AcquireWrite(ctx)
		},
		"set": func(ctx context.Context, s *session.Session) (releaser, error) {
			return lock.AcquireAll(ctx, lock.New(s, "y"), lock.New(s, "z"))
		},
		"semaphore": func(ctx context.Context, s *session.Session) (releaser, error) {
			return semaphore.New(s, "x", 1).Acquire(ctx, 1)
		},
		"election": func(ctx context.Context, s *session.Session) (releaser, error) {
			t, err := election.New(s, "x").Campaign(ctx, "")
			return term{t}, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range 6 {
				one, other := a, b
				if i%2 == 1 {
					one, other = b, a
				}
				first, err := acquire(t.Context(), one)
				check(t, err)
				type result struct {
					hold releaser
					err  error
					at   time.Time
				}
				got := make(chan result, 1)
				go func() {
					hold, err := acquire(within(t, 15*time.Second), other)
					got <- result{hold, err, time.Now()}
				}()
				prefix := map[string]string{"lock": "fenceline/lock/x/", "rwlock": "fenceline/rwlock/x/", "set": "fenceline/lock/z/",
					"semaphore": "fenceline/semaphore/x/line/", "election": "fenceline/election/x/"}[name]
				etcdtest.Eventually(t, 10*time.Second, "two in line", func() bool { return len(etcdtest.Keys(t, direct, prefix)) == 2 })
				if i > 2 { // its watch is open by then
					time.Sleep(300 * time.Millisecond)
				}
				released := time.Now()
				check(t, first.Release(t.Context()))
				r := <-got
				check(t, r.err)
				if took := r.at.Sub(released); took > prompt {
					t.Errorf("handed over after %v", took)
				}
				check(t, r.hold.Release(t.Context()))
			}
		})
	}
}

type term struct{ *election.Term }

func (t term) Release(ctx context.Context) error { return t.Resign(ctx) }

func TestNamesAndProcessesDoNotGetInEachOthersWayThroughTheProxy(t *testing.T) {
	t.Parallel()
	m := etcdtest.Start(t)
	p := startProxy(t, m)
	const sessions, names = 3, 4
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	var inside [names]atomic.Int64
	var turns [names][sessions]atomic.Int64
	var wg sync.WaitGroup
	for i := range sessions {
		s := open(t, p.client(t, m))
		for j := range names {
			mu := lock.New(s, fmt.Sprint("n", j))
			wg.Go(func() {
				for ctx.Err() == nil {
					l, err := mu.Acquire(ctx)
					if err != nil {
						continue
					}
					if inside[j].Add(1) != 1 {
						t.Error("two inside")
					}
					turns[j][i].Add(1)
					inside[j].Add(-1)
					if err := l.Release(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	for j := range names {
		for i := range sessions {
			if n := turns[j][i].Load(); n < 10 {
				t.Errorf("name %d: process %d had %d turns in 10 s", j, i, n)
			}
		}
	}
	etcdtest.Eventually(t, 10*time.Second, "nothing left", func() bool { return len(etcdtest.Keys(t, m.Client(t), "fenceline/lock/")) == 0 })
}

func TestAnotherProcessGetsItsTurnThroughTheProxy(t *testing.T) {
	t.Parallel()
	_, a, b := two(t)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if l, err := lock.New(a, "x").Acquire(ctx); err == nil {
					time.Sleep(5 * time.Millisecond) // the work
					_ = l.Release(t.Context())
				}
			}
		})
	}
	time.Sleep(500 * time.Millisecond) // they are at it
	l, err := lock.New(b, "x").Acquire(within(t, 3*prompt))
	check(t, err)
	check(t, l.Release(t.Context()))
	stop()
	wg.Wait()
}

func TestWaitsEndPromptlyThroughTheProxy(t *testing.T) {
	t.Parallel()
	_, a, b := two(t)
	gate, latch := barrier.NewGate(a, "g"), barrier.NewLatch(a, "l", 1)
	check(t, gate.Close(t.Context()))
	for name, w := range map[string]struct{ wait, end func(context.Context) error }{
		"gate":  {barrier.NewGate(b, "g").Wait, gate.Open},
		"latch": {barrier.NewLatch(b, "l", 1).Wait, func(ctx context.Context) error { return latch.CountDown(ctx, "x") }},
	} {
		t.Run(name, func(t *testing.T) {
			waited := make(chan error, 1)
			go func() { waited <- w.wait(t.Context()) }()
			select {
			case err := <-waited:
				t.Fatalf("it did not wait: %v", err)
			case <-time.After(time.Second):
			}
			check(t, w.end(t.Context()))
			select {
			case err := <-waited:
				check(t, err)
			case <-time.After(prompt):
				t.Fatal("it still waits")
			}
		})
	}
	t.Run("barrier", func(t *testing.T) {
		for range 3 {
			began := time.Now()
			var wg sync.WaitGroup
			for _, s := range []*session.Session{a, b} {
				wg.Go(func() {
					pass, err := barrier.New(s, "b", 2).Enter(within(t, 15*time.Second))
					if err == nil {
						err = pass.Leave(within(t, 15*time.Second))
					}
					if err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if took := time.Since(began); took > 2*prompt {
				t.Errorf("a round took %v", took)
			}
		}
	})
}

// counter counts what is written to it.
type counter struct{ n *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) { c.n.Add(1); return len(p), nil }

func TestReadersSeeChangesPromptlyThroughTheProxy(t *testing.T) {
	t.Parallel()
	m := etcdtest.Start(t)
	p := startProxy(t, m)
	s, reader := open(t, p.client(t, m)), p.client(t, m)
	ctx := within(t, time.Minute)
	var troubles atomic.Int64
	d, err := registry.OpenDirectory(ctx, reader, registry.WithLogger(slog.New(slog.NewTextHandler(counter{&troubles}, nil))))
	check(t, err)
	defer d.Close()
	sets, leaders := make(chan int, 100), make(chan string, 100)
	go func() {
		for ins, err := range registry.Watch(ctx, reader, "web", registry.WithTroubleFunc(func(error) { troubles.Add(1) })) {
			if err == nil {
				sets <- len(ins)
			}
		}
	}()
	go func() {
		for l, err := range election.Observe(ctx, reader, "boss") {
			if err == nil {
				leaders <- l.Value
			}
		}
	}()
	saw := func(what string, f func() bool) {
		t.Helper()
		etcdtest.Eventually(t, prompt, what, f)
	}
	if n, l := <-sets, <-leaders; n != 0 || l != "" {
		t.Fatalf("at the start: %d, %q", n, l)
	}
	for i := range 4 {
		r, err := registry.Register(ctx, s, "web", registry.Instance{Addr: "10.0.0.1:80"})
		check(t, err)
		e, err := election.New(s, "boss").Campaign(ctx, fmt.Sprint("v", i))
		check(t, err)
		saw("an instance", func() bool { return len(sets) > 0 && <-sets == 1 })
		saw("the same in the directory", func() bool { in, _ := d.Instances(ctx, "web"); return len(in) == 1 })
		saw("a leader", func() bool { return len(leaders) > 0 && <-leaders == fmt.Sprint("v", i) })
		if i == 1 {
			time.Sleep(12 * time.Second) // the proxy says nothing meanwhile, and that is no trouble
		}
		check(t, r.Deregister(ctx))
		check(t, e.Resign(ctx))
		saw("nobody", func() bool { return len(sets) > 0 && <-sets == 0 })
		saw("nobody in the directory", func() bool { in, _ := d.Instances(ctx, "web"); return len(in) == 0 })
		saw("no leader", func() bool { return len(leaders) > 0 && <-leaders == "" })
	}
	if n := troubles.Load(); n > 0 {
		t.Errorf("%d troubles", n)
	}
}

func TestTicksRunOnceEachThroughTheProxy(t *testing.T) {
	t.Parallel()
	_, a, b := two(t)
	ctx, stop := context.WithCancel(t.Context())
	var mu sync.Mutex
	runs := map[time.Time]int{}
	var wg sync.WaitGroup
	for _, s := range []*session.Session{a, b} {
		sched := cron.New(s)
		check(t, sched.Add("job", "@every 1s", func(_ context.Context, tick cron.Tick) error {
			mu.Lock()
			defer mu.Unlock()
			runs[tick.Scheduled]++
			return nil
		}))
		wg.Go(func() {
			if err := sched.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	etcdtest.Eventually(t, 20*time.Second, "ticks", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(runs) >= 6
	})
	stop()
	wg.Wait()
	for at, n := range runs {
		if n != 1 {
			t.Errorf("%v ran %d times", at, n)
		}
	}
}

func TestSessionIsRenewedThroughTheProxy(t *testing.T) {
	t.Parallel()
	m := etcdtest.Start(t)
	s := open(t, startProxy(t, m).client(t, m), session.WithTTL(6*time.Second))
	lease := s.Lease()
	l, err := lock.New(s, "x").Acquire(t.Context())
	check(t, err)
	select {
	case <-l.Context().Done():
		t.Errorf("lost: %v", context.Cause(l.Context()))
	case <-time.After(15 * time.Second): // more than two of its lives
	}
	if s.Lease() != lease || s.State() == session.Down {
		t.Errorf("%v, lease %x was %x", s.State(), s.Lease(), lease)
	}
	check(t, l.Release(t.Context()))
}
