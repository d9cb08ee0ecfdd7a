package session_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fenceline/fenceline/barrier"
	"github.com/fenceline/fenceline/cron"
	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/fencetest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/registry"
	"github.com/fenceline/fenceline/semaphore"
	"github.com/fenceline/fenceline/session"
)

// diary is what hooks were told, in order.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) note(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

func (d *diary) count(line string) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.lines {
		if l == line {
			n++
		}
	}
	return n
}

type testKey struct{}

// holders are one call for each kind that holds, and how it is given back.
func holders(ctx context.Context, s *session.Session) map[string]func() (session.Hold, func(context.Context) error, error) {
	return map[string]func() (session.Hold, func(context.Context) error, error){
		"lock": func() (session.Hold, func(context.Context) error, error) {
			h, err := lock.New(s, "x").Acquire(ctx)
			return h, h.Release, err
		},
		"lock set": func() (session.Hold, func(context.Context) error, error) {
			h, err := lock.AcquireAll(ctx, lock.New(s, "a"), lock.New(s, "b"))
			return h, h.Release, err
		},
		"rwlock": func() (session.Hold, func(context.Context) error, error) {
			h, err := lock.NewRW(s, "x").AcquireRead(ctx)
			return h, h.Release, err
		},
		"semaphore": func() (session.Hold, func(context.Context) error, error) {
			h, err := semaphore.New(s, "x", 5).Acquire(ctx, 2)
			return h, h.Release, err
		},
		"election": func() (session.Hold, func(context.Context) error, error) {
			h, err := election.New(s, "x").Campaign(ctx, "")
			return h, h.Resign, err
		},
		"barrier": func() (session.Hold, func(context.Context) error, error) {
			h, err := barrier.New(s, "x", 1).Enter(ctx)
			return h, h.Leave, err
		},
	}
}

func TestEachWaitAndHoldIsToldFromItsStartToItsEndWithOneContext(t *testing.T) {
	for _, end := range []string{"given back", "lost"} {
		for kind := range holders(nil, nil) {
			t.Run(kind+" "+end, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					etcd := fencetest.Start(t)
					var d diary
					check := func(ctx context.Context, what string) {
						if ctx.Value(testKey{}) != "ours" {
							t.Errorf("%s: another ctx", what)
						}
						d.note(what)
					}
					s := etcd.Session(t, session.WithTrace(&session.Trace{
						WaitStart: func(ctx context.Context, w session.Wait) context.Context {
							if want := map[bool]int64{true: 2, false: 1}[w.Kind == "semaphore"]; w.Units != want || (w.Mode == "read") != (w.Kind == "rwlock") || w.Try {
								t.Errorf("%+v", w)
							}
							d.note("start")
							return context.WithValue(ctx, testKey{}, "ours")
						},
						WaitEnd: func(ctx context.Context, _ session.Wait, e session.WaitEnd) {
							if e.Err != nil || e.Path != "free" || e.Idle != 0 || e.Ahead != 0 {
								t.Errorf("%+v", e)
							}
							check(ctx, "end")
						},
						HoldEnd: func(ctx context.Context, _ session.Wait, e session.HoldEnd) {
							if (e.Err != nil) != (end == "lost") || e.Held < 2900*time.Millisecond || e.Held > 5100*time.Millisecond { // a barrier hears of the loss by the next renewal
								t.Errorf("%+v", e)
							}
							check(ctx, "over")
						},
					}))
					h, release, err := holders(t.Context(), s)[kind]()
					if err != nil {
						t.Fatal(err)
					}
					if h.Context().Value(testKey{}) != "ours" {
						t.Error("what runs under the hold has another ctx")
					}
					time.Sleep(3 * time.Second)
					if end == "lost" {
						if _, err := etcd.Client(t).Revoke(t.Context(), s.Lease()); err != nil {
							t.Fatal(err)
						}
						<-h.Context().Done()
						synctest.Wait()
					} else if err := release(t.Context()); err != nil {
						t.Fatal(err)
					}
					if !slices.Equal(d.lines, []string{"start", "end", "over"}) {
						t.Errorf("told: %v", d.lines)
					}
				})
			})
		}
	}
}

func TestWaitsThatGotNothingAreToldWithWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		other := etcd.Session(t)
		for kind, acquire := range holders(t.Context(), other) {
			if _, _, err := acquire(); err != nil && kind != "barrier" {
				t.Fatal(err)
			}
		}
		if _, err := lock.NewRW(other, "y").AcquireWrite(t.Context()); err != nil {
			t.Fatal(err)
		}
		var d diary
		s := etcd.Session(t, session.WithTrace(&session.Trace{
			WaitEnd: func(_ context.Context, w session.Wait, e session.WaitEnd) {
				if !errors.Is(e.Err, context.DeadlineExceeded) || e.Waited < time.Second || e.Waited > 1500*time.Millisecond {
					t.Errorf("%s: %+v", w.Kind, e)
				}
				d.note("end " + w.Kind)
			},
			Abandoned: func(kind, _ string, waited time.Duration, err error) {
				if !errors.Is(err, context.DeadlineExceeded) || waited < time.Second {
					t.Errorf("%s after %v: %v", kind, waited, err)
				}
				d.note("abandoned " + kind)
			},
			HoldEnd: func(_ context.Context, w session.Wait, _ session.HoldEnd) { t.Errorf("%s: it never held", w.Kind) },
		}))
		for kind, acquire := range map[string]func(context.Context) error{
			"lock":      func(ctx context.Context) error { _, err := lock.New(s, "x").Acquire(ctx); return err },
			"rwlock":    func(ctx context.Context) error { _, err := lock.NewRW(s, "y").AcquireRead(ctx); return err },
			"semaphore": func(ctx context.Context) error { _, err := semaphore.New(s, "x", 5).Acquire(ctx, 4); return err },
			"election":  func(ctx context.Context) error { _, err := election.New(s, "x").Campaign(ctx, ""); return err },
			"barrier":   func(ctx context.Context) error { _, err := barrier.New(s, "z", 2).Enter(ctx); return err },
		} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if err := acquire(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", kind, err)
			}
			cancel()
			synctest.Wait()
			if n, m := d.count("end "+kind), d.count("abandoned "+kind); n != 1 || m != 1 {
				t.Errorf("%s: WaitEnd %d times, Abandoned %d", kind, n, m)
			}
		}
	})
}

func TestHandOversAreToldByTheirPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		var mu sync.Mutex
		var ends []session.WaitEnd
		trace := &session.Trace{WaitEnd: func(_ context.Context, _ session.Wait, e session.WaitEnd) {
			mu.Lock()
			defer mu.Unlock()
			ends = append(ends, e)
		}}
		one, two := etcd.Session(t, session.WithTrace(trace)), etcd.Session(t, session.WithTrace(trace))
		for _, next := range []*session.Session{one, two} {
			l, err := lock.New(one, "x").Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(time.Second, func() { _ = l.Release(context.Background()) })
			second, err := lock.New(next, "x").Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := second.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for i, want := range []session.WaitEnd{{Path: "free"}, {Path: "local", Waited: time.Second}, {Path: "free"}, {Path: "etcd", Waited: time.Second, Ahead: 1}} {
			if e := ends[i]; e.Path != want.Path || e.Ahead != want.Ahead || e.Waited.Round(100*time.Millisecond) != want.Waited || e.Idle > 100*time.Millisecond {
				t.Errorf("%d: %+v, want %+v", i, e, want)
			}
		}
	})
}

func TestRenewalsRegistrationsAndRunsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		var d diary
		broken := errors.New("no disk")
		s := etcd.Session(t, session.WithTrace(&session.Trace{
			Renewed: func(r session.Renewal) {
				if r.Err != nil || r.Left <= 0 || r.Left > 15*time.Second {
					t.Errorf("%+v", r)
				}
				d.note("renewed")
			},
			Registered: func(service, id string, stands bool, cause error) {
				d.note(service + " " + id + map[bool]string{true: " stands", false: " is gone"}[stands])
				if cause != nil && !errors.Is(cause, session.ErrLost) {
					t.Error(cause)
				}
			},
			RunStart: func(ctx context.Context, r session.CronRun) context.Context {
				d.note("run " + r.Job)
				return context.WithValue(ctx, testKey{}, r.Job)
			},
			RunEnd: func(ctx context.Context, r session.CronRun, e session.CronRunEnd) {
				if ctx.Value(testKey{}) != r.Job || e.Took.Round(100*time.Millisecond) != time.Second || !errors.Is(e.Err, broken) || r.Attempt != 1 || r.Late > time.Second {
					t.Errorf("%+v %+v", r, e)
				}
				d.note("ended " + e.Outcome)
			},
		}))
		reg, err := registry.Register(t.Context(), s, "web", registry.Instance{Addr: "10.0.0.1:80"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := etcd.Client(t).Revoke(t.Context(), s.Lease()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		if err := reg.Deregister(t.Context()); err != nil {
			t.Fatal(err)
		}
		c := cron.New(s)
		err = c.Add("nightly", "@every 10s", func(ctx context.Context, tick cron.Tick) error {
			if ctx.Value(testKey{}) != "nightly" || tick.Context() != ctx {
				t.Error("fn has another ctx than RunStart has returned")
			}
			time.Sleep(time.Second)
			return broken
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		_ = c.Run(ctx)
		synctest.Wait()
		for line, want := range map[string]int{"web 10.0.0.1:80 stands": 2, "web 10.0.0.1:80 is gone": 2} {
			if n := d.count(line); n != want {
				t.Errorf("%q %d times, want %d", line, n, want)
			}
		}
		if d.count("run nightly") == 0 || d.count("run nightly") != d.count("ended error") || d.count("renewed") < 3 {
			t.Errorf("%v", d.lines)
		}
	})
}

func TestRenewalThatFailsIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		var d diary
		etcd.Session(t, session.WithTrace(&session.Trace{Renewed: func(r session.Renewal) {
			if r.Err != nil {
				d.note("failed")
			}
		}}))
		etcd.Decide(func(r fencetest.Request) fencetest.Fate { return fencetest.Fate{Lost: r.Method == "LeaseKeepAlive"} })
		time.Sleep(12 * time.Second)
		etcd.Decide(nil)
		if d.count("failed") == 0 {
			t.Error("no renewal has failed")
		}
	})
}

func TestHooksOfSeveralTracesAreAllCalledEachWithTheContextOfTheOneBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		var d diary
		trace := func(name string) *session.Trace {
			return &session.Trace{
				WaitStart: func(ctx context.Context, _ session.Wait) context.Context {
					before, _ := ctx.Value(testKey{}).(string)
					return context.WithValue(ctx, testKey{}, before+name)
				},
				WaitEnd: func(ctx context.Context, _ session.Wait, _ session.WaitEnd) {
					d.note(name + " " + ctx.Value(testKey{}).(string))
				},
				Granted: func(string, string, time.Duration) { d.note(name + " granted") },
			}
		}
		silent := &session.Trace{WaitStart: func(context.Context, session.Wait) context.Context { return nil }}
		s := etcd.Session(t, session.WithTrace(trace("a")), session.WithTrace(nil), session.WithTrace(trace("b")), session.WithTrace(silent))
		if _, err := lock.New(s, "x").Acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for _, line := range []string{"a ab", "b ab", "a granted", "b granted"} {
			if d.count(line) != 1 {
				t.Errorf("no %q in %v", line, d.lines)
			}
		}
	})
}

// A hook that blocks delays the call that it is of, and nobody else.
func TestHookThatBlocksDelaysOnlyItsOwnCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		stuck := make(chan struct{})
		s := etcd.Session(t, session.WithTrace(&session.Trace{WaitEnd: func(_ context.Context, w session.Wait, _ session.WaitEnd) {
			if w.Name == "slow" {
				<-stuck
			}
		}}))
		go func() { _, _ = lock.New(s, "slow").Acquire(t.Context()) }()
		time.Sleep(40 * time.Second) // more than the TTL
		if s.State() != session.Live {
			t.Errorf("state %v", s.State())
		}
		if _, err := lock.New(s, "other").Acquire(t.Context()); err != nil {
			t.Error(err)
		}
		close(stuck)
	})
}
