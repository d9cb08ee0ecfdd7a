package prom_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/barrier"
	"github.com/fenceline/fenceline/cron"
	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/fencetest"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/metrics/prom"
	"github.com/fenceline/fenceline/registry"
	"github.com/fenceline/fenceline/semaphore"
	"github.com/fenceline/fenceline/session"
)

// scrape is what a registry with a Session's metrics tells.
type scrape struct {
	t   *testing.T
	reg *prometheus.Registry
}

func watch(t *testing.T, s *session.Session) scrape {
	t.Helper()
	c, err := prom.NewCollector(s)
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(c)
	return scrape{t, reg}
}

// series is the one with these labels, as key=value; nil: there is none.
func (s scrape) series(name string, labels ...string) *dto.Metric {
	s.t.Helper()
	families, err := s.reg.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
	metrics:
		for _, m := range f.Metric {
			have := map[string]bool{}
			for _, l := range m.Label {
				have[l.GetName()+"="+l.GetValue()] = true
			}
			for _, want := range labels {
				if !have[want] {
					continue metrics
				}
			}
			return m
		}
	}
	return nil
}

func (s scrape) value(name string, labels ...string) float64 {
	s.t.Helper()
	m := s.series(name, labels...)
	switch {
	case m == nil:
		return math.NaN()
	case m.Gauge != nil:
		return m.Gauge.GetValue()
	case m.Counter != nil:
		return m.Counter.GetValue()
	}
	return float64(m.Histogram.GetSampleCount())
}

func (s scrape) is(want float64, name string, labels ...string) {
	s.t.Helper()
	if got := s.value(name, labels...); !(math.IsNaN(got) && math.IsNaN(want)) && !(math.Abs(got-want) < 0.5) {
		s.t.Errorf("%s%v is %v, want %v", name, labels, got, want)
	}
}

func open(t *testing.T, etcd *fencetest.Etcd, opts ...session.Option) *session.Session {
	t.Helper()
	return etcd.Session(t, append(opts, session.WithMetrics(nil))...)
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestAgesAreThoseAtTheScrape(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		s := open(t, etcd)
		m := watch(t, s)
		kinds := map[string]func(context.Context) (release func(context.Context) error, err error){
			"lock": func(ctx context.Context) (func(context.Context) error, error) {
				h, err := lock.New(s, "x").Acquire(ctx)
				return func(ctx context.Context) error { return h.Release(ctx) }, err
			},
			"rwlock": func(ctx context.Context) (func(context.Context) error, error) {
				h, err := lock.NewRW(s, "x").AcquireWrite(ctx)
				return func(ctx context.Context) error { return h.Release(ctx) }, err
			},
			"semaphore": func(ctx context.Context) (func(context.Context) error, error) {
				h, err := semaphore.New(s, "x", 3).Acquire(ctx, 3)
				return func(ctx context.Context) error { return h.Release(ctx) }, err
			},
			"election": func(ctx context.Context) (func(context.Context) error, error) {
				h, err := election.New(s, "x").Campaign(ctx, "")
				return func(ctx context.Context) error { return h.Resign(ctx) }, err
			},
		}
		for kind, acquire := range kinds {
			units := 1.0
			if kind == "semaphore" {
				units = 3
			}
			release, err := acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Second)
			got := make(chan func(context.Context) error)
			go func() {
				release, err := acquire(t.Context())
				if err != nil {
					t.Error(err)
				}
				got <- release
			}()
			time.Sleep(7 * time.Second)
			of := "kind=" + kind
			m.is(12, "fenceline_oldest_hold_seconds", of)
			m.is(7, "fenceline_oldest_wait_seconds", of)
			m.is(units, "fenceline_held", of)
			m.is(units, "fenceline_waiting", of)
			if err := release(t.Context()); err != nil {
				t.Fatal(err)
			}
			second := <-got
			time.Sleep(time.Second)
			m.is(1, "fenceline_oldest_hold_seconds", of)
			m.is(0, "fenceline_waiting", of)
			if err := second(t.Context()); err != nil {
				t.Fatal(err)
			}
			m.is(0, "fenceline_held", of)
			m.is(0, "fenceline_oldest_hold_seconds", of)
			hold := m.series("fenceline_hold_seconds", of, "end=released").Histogram
			if n, sum := hold.GetSampleCount(), hold.GetSampleSum(); n != 2 || math.Abs(sum-13) > 0.5 {
				t.Errorf("%s: %d holds of %v s", kind, n, sum)
			}
			m.is(1, "fenceline_acquire_wait_seconds", of, "outcome=granted", "path=free")
		}
		m.is(0, "fenceline_leader", "name=x")
		m.is(2, "fenceline_leader_terms_total", "name=x")
	})
}

func TestCallsThatGetNothingAreCountedByWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		s := open(t, etcd)
		m := watch(t, s)
		other := etcd.Session(t)
		ctx := t.Context()
		must[*lock.Lock](t)(lock.New(other, "x").Acquire(ctx))
		must[*lock.Lock](t)(lock.NewRW(other, "x").AcquireWrite(ctx))
		must[*semaphore.Permit](t)(semaphore.New(other, "x", 1).Acquire(ctx, 1))
		must[*election.Term](t)(election.New(other, "x").Campaign(ctx, ""))
		timeout := func() (context.Context, context.CancelFunc) { return context.WithTimeout(ctx, 2*time.Second) }
		canceled := func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(time.Second, cancel)
			return ctx, cancel
		}
		for kind, acquire := range map[string]func(context.Context) error{
			"lock":      func(ctx context.Context) error { _, err := lock.New(s, "x").Acquire(ctx); return err },
			"rwlock":    func(ctx context.Context) error { _, err := lock.NewRW(s, "x").AcquireRead(ctx); return err },
			"semaphore": func(ctx context.Context) error { _, err := semaphore.New(s, "x", 1).Acquire(ctx, 1); return err },
			"election":  func(ctx context.Context) error { _, err := election.New(s, "x").Campaign(ctx, ""); return err },
			"barrier":   func(ctx context.Context) error { _, err := barrier.New(s, "x", 2).Enter(ctx); return err },
		} {
			for how, end := range map[string]func() (context.Context, context.CancelFunc){"timeout": timeout, "canceled": canceled} {
				ctx, cancel := end()
				if err := acquire(ctx); err == nil {
					t.Errorf("%s, %s: it holds", kind, how)
				}
				cancel()
				m.is(1, "fenceline_acquire_wait_seconds", "kind="+kind, "outcome="+how)
			}
			m.is(0, "fenceline_waiting", "kind="+kind)
		}
		for kind, try := range map[string]func() error{
			"lock":      func() error { _, err := lock.New(s, "x").TryAcquire(ctx); return err },
			"rwlock":    func() error { _, err := lock.NewRW(s, "x").TryAcquireRead(ctx); return err },
			"semaphore": func() error { _, err := semaphore.New(s, "x", 1).TryAcquire(ctx, 1); return err },
		} {
			if err := try(); err == nil {
				t.Errorf("%s: it holds", kind)
			}
			m.is(1, "fenceline_acquire_wait_seconds", "kind="+kind, "outcome=held")
		}
		if _, err := semaphore.New(s, "y", 1).Acquire(ctx, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := semaphore.New(s, "y", 2).Acquire(ctx, 2); !errors.Is(err, semaphore.ErrLimit) {
			t.Errorf("%v", err)
		}
		m.is(1, "fenceline_acquire_wait_seconds", "kind=semaphore", "outcome=limit")
		ended := make(chan error)
		go func() { _, err := lock.New(s, "x").Acquire(ctx); ended <- err }()
		synctest.Wait()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
		<-ended
		m.is(1, "fenceline_acquire_wait_seconds", "kind=lock", "outcome=lost")
		m.is(1, "fenceline_session_state", "state=closed")
	})
}

// Whatever holds, is lost for each reason once, and counted for it.
func TestLossesAreCountedByWhy(t *testing.T) {
	for why, lose := range map[string]func(t *testing.T, client *clientv3.Client, s *session.Session){
		"revoked": func(t *testing.T, client *clientv3.Client, s *session.Session) {
			must[*clientv3.LeaseRevokeResponse](t)(client.Revoke(t.Context(), s.Lease()))
		},
		"closed": func(t *testing.T, _ *clientv3.Client, s *session.Session) {
			if err := s.Close(t.Context()); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				etcd := fencetest.Start(t)
				s := open(t, etcd)
				m := watch(t, s)
				ctx := t.Context()
				l := must[*lock.Lock](t)(lock.New(s, "x").Acquire(ctx))
				must[*lock.Set](t)(lock.AcquireAll(ctx, lock.New(s, "a"), lock.New(s, "b")))
				must[*lock.Lock](t)(lock.NewRW(s, "x").AcquireRead(ctx))
				must[*semaphore.Permit](t)(semaphore.New(s, "x", 1).Acquire(ctx, 1))
				must[*election.Term](t)(election.New(s, "x").Campaign(ctx, ""))
				pass := must[*barrier.Pass](t)(barrier.New(s, "x", 1).Enter(ctx))
				m.is(3, "fenceline_held", "kind=lock")
				m.is(1, "fenceline_held", "kind=barrier")
				m.is(1, "fenceline_leader", "name=x")
				m.is(1, "leader_election_master_status", "name=x")
				time.Sleep(3 * time.Second)
				lose(t, etcd.Client(t), s)
				<-l.Context().Done()
				<-pass.Context().Done()
				synctest.Wait()
				for kind, n := range map[string]float64{"lock": 3, "rwlock": 1, "semaphore": 1, "election": 1, "barrier": 1} {
					m.is(n, "fenceline_lost_total", "kind="+kind, "reason="+why)
					m.is(n, "fenceline_hold_seconds", "kind="+kind, "end=lost")
					m.is(0, "fenceline_hold_seconds", "kind="+kind, "end=released")
					m.is(0, "fenceline_held", "kind="+kind)
				}
				m.is(0, "fenceline_leader", "name=x")
			})
		})
	}
}

func TestRunsOfJobsAndRegistrationsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		s := open(t, etcd)
		m := watch(t, s)
		c := cron.New(s)
		n := 0
		err := c.Add("nightly", "@every 10s", func(context.Context, cron.Tick) error {
			time.Sleep(time.Second)
			if n++; n == 2 {
				return errors.New("no disk")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.Run(ctx) }()
		time.Sleep(25 * time.Second)
		cancel()
		<-done
		m.is(2, "fenceline_cron_runs_total", "cronjob=nightly", "outcome=success")
		m.is(1, "fenceline_cron_runs_total", "cronjob=nightly", "outcome=error")
		m.is(3, "fenceline_cron_run_seconds", "cronjob=nightly")
		m.is(3, "fenceline_cron_start_delay_seconds", "cronjob=nightly")
		if sum := m.series("fenceline_cron_run_seconds", "cronjob=nightly").Histogram.GetSampleSum(); math.Abs(sum-3) > 0.1 {
			t.Errorf("they took %v s", sum)
		}
		m.is(0, "fenceline_cron_running", "cronjob=nightly")
		if at := m.value("fenceline_cron_last_success_timestamp_seconds", "cronjob=nightly"); time.Since(time.UnixMilli(int64(at*1000))) > 10*time.Second {
			t.Errorf("last success at %v", at)
		}
		reg := must[*registry.Registration](t)(registry.Register(t.Context(), s, "web", registry.Instance{Addr: "10.0.0.1:80"}))
		m.is(1, "fenceline_registry_registered", "service=web")
		if err := reg.Deregister(t.Context()); err != nil {
			t.Fatal(err)
		}
		m.is(math.NaN(), "fenceline_registry_registered", "service=web")
	})
}

func TestOnlyNamesThatTheUserMapsAreLabelsAndAThousandAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		s := etcd.Session(t, session.WithMetrics(func(kind, name string) string {
			if name == "secret" {
				return ""
			}
			return kind + "/" + name
		}))
		m := watch(t, s)
		ctx := t.Context()
		for _, name := range []string{"secret", "known"} {
			l := must[*lock.Lock](t)(lock.New(s, name).Acquire(ctx))
			if err := l.Release(ctx); err != nil {
				t.Fatal(err)
			}
		}
		m.is(1, "fenceline_hold_seconds", "kind=lock", "name=lock/known", "end=released")
		m.is(1, "fenceline_hold_seconds", "kind=lock", "name=", "end=released")
		for i := range 1100 {
			keeper.Of(s).Meter.Shard("lock", fmt.Sprint(i)).Released(time.Second)
		}
		families, err := m.reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "fenceline_held" && len(f.Metric) > 1001 {
				t.Errorf("%d series", len(f.Metric))
			}
		}
	})
}

func TestSessionWithoutMetricsIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		if _, err := prom.NewCollector(etcd.Session(t)); !errors.Is(err, prom.ErrNoMetrics) || !strings.Contains(err.Error(), "WithMetrics") {
			t.Errorf("%v", err)
		}
	})
}

func TestTwoSessionsOfAProcessAreToldApartByLabels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		reg := prometheus.NewPedanticRegistry()
		for _, name := range []string{"a", "b"} {
			c, err := prom.NewCollector(open(t, etcd), prom.WithLabels(prometheus.Labels{"session": name}))
			if err != nil {
				t.Fatal(err)
			}
			if err := reg.Register(c); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestDirectoryIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		s := etcd.Session(t)
		for _, addr := range []string{"10.0.0.1:80", "10.0.0.2:80"} {
			must[*registry.Registration](t)(registry.Register(t.Context(), s, "web", registry.Instance{Addr: addr}))
		}
		d := must[*registry.Directory](t)(registry.OpenDirectory(t.Context(), etcd.Client(t)))
		defer d.Close()
		reg := prometheus.NewPedanticRegistry()
		reg.MustRegister(prom.NewDirectoryCollector(d))
		m := scrape{t, reg}
		m.is(2, "fenceline_directory_instances", "service=web", "status=up")
		m.is(0, "fenceline_directory_stale_instances", "service=web")
		m.is(1, "fenceline_directory_healthy")
		m.is(0, "fenceline_directory_age_seconds")
	})
}

func TestMetricsFollowTheConventions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		s := open(t, etcd)
		m := watch(t, s)
		must[*lock.Lock](t)(lock.New(s, "x").Acquire(t.Context()))
		must[*election.Term](t)(election.New(s, "x").Campaign(t.Context(), ""))
		keeper.Of(s).Meter.Job("x").Ended(0, time.Second, time.Now())
		problems, err := testutil.GatherAndLint(m.reg)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	})
}

// The user's function is called with no mutex held: it may use the Session, also the very line.
func TestLabelFunctionMayUseTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		var s *session.Session
		busy := false
		s = etcd.Session(t, session.WithMetrics(func(_, name string) string {
			if s != nil && !busy {
				busy = true
				keeper.Of(s).Read()
				if l, err := lock.New(s, name).TryAcquire(t.Context()); err == nil {
					_ = l.Release(t.Context())
				}
				busy = false
			}
			return name
		}))
		m := watch(t, s)
		for _, name := range []string{"a", "b"} {
			must[*lock.Lock](t)(lock.New(s, name).Acquire(t.Context()))
			m.is(1, "fenceline_held", "name="+name)
		}
		pass := must[*barrier.Pass](t)(barrier.New(s, "c", 1).Enter(t.Context()))
		m.is(1, "fenceline_held", "kind=barrier", "name=c")
		if err := pass.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}
