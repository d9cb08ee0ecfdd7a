package adapt_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/lock/adapt"
	"github.com/fenceline/fenceline/session"
)

// job is cron.Job, and jobFunc is cron.FuncJob.
type job interface{ Run() }

type jobFunc func()

func (f jobFunc) Run() { f() }

// reports remembers what was reported.
type reports struct {
	mu  sync.Mutex
	all []error
}

func (r *reports) add(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, err)
}

func (r *reports) take() []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.all
	r.all = nil
	return all
}

// only answers the one report there is.
func (r *reports) only(t testing.TB) error {
	t.Helper()
	all := r.take()
	if len(all) != 1 {
		t.Fatalf("reports: %v, want one", all)
	}
	return all[0]
}

func TestCronRunsAJobOnlyWhenItHasTheLock(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s, other := open(t, client), open(t, client)
	var r reports
	ran := 0
	wrapped := adapt.Cron[job](s, name, r.add)(jobFunc(func() {
		ran++
		queued(t, client, name, 1)
	}))
	l := acquire(t, other, name)
	wrapped.Run()
	want(t, r.only(t), lock.ErrHeld)
	must(t, l.Release(t.Context()))
	wrapped.Run()
	if all := r.take(); ran != 1 || len(all) > 0 {
		t.Errorf("ran %d times, reports %v", ran, all)
	}
	queued(t, client, name, 0)
}

func TestCronSkipsATickWhileTheLastRunGoesOn(t *testing.T) {
	s, name := open(t, etcdtest.Shared(t).Client(t)), etcdtest.Name(t)
	var r reports
	var wrapped job
	wrapped = adapt.Cron[job](s, name, r.add)(jobFunc(func() { wrapped.Run() }))
	wrapped.Run()
	want(t, r.only(t), lock.ErrHeld)
}

func TestCronReleasesAfterAPanic(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	wrapped := adapt.Cron[job](open(t, client), name, nil)(jobFunc(func() { panic("in the job") }))
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		wrapped.Run()
	}()
	queued(t, client, name, 0)
}

func TestCronReportsALossOnceWhileTheJobRuns(t *testing.T) {
	s, name := open(t, etcdtest.Shared(t).Client(t)), etcdtest.Name(t)
	var r reports
	told := make(chan struct{}, 9)
	wrapped := adapt.Cron[job](s, name, func(err error) { r.add(err); told <- struct{}{} })(jobFunc(func() {
		lose(t, s)
		select {
		case <-told: // and the job goes on
		case <-time.After(5 * time.Second):
			t.Error("not told while the job runs")
		}
	}))
	wrapped.Run()
	err := r.only(t)
	want(t, err, session.ErrLost)
	want(t, err, session.ErrRevoked)
}

func TestCronRunEndsAfterItsReports(t *testing.T) {
	s, name := open(t, etcdtest.Shared(t).Client(t)), etcdtest.Name(t)
	var returned atomic.Bool
	begun, ending := make(chan struct{}), make(chan struct{})
	report := func(error) {
		close(begun)
		<-ending
		time.Sleep(50 * time.Millisecond) // a slow reporter
		returned.Store(true)
	}
	adapt.CronFunc(s, name, func(context.Context) { lose(t, s); <-begun; close(ending) }, report).Run()
	if !returned.Load() {
		t.Error("Run has ended before the report has")
	}
}

func TestCronFuncsContextEndsWithTheHold(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s := open(t, client)
	closing, err := session.Open(t.Context(), client)
	must(t, err)
	for _, c := range []struct {
		s     *session.Session
		end   func()
		cause error
	}{
		{s, func() { lose(t, s) }, session.ErrLost},
		{closing, func() { must(t, closing.Close(t.Context())) }, session.ErrClosed},
	} {
		var r reports
		adapt.CronFunc(c.s, name, func(ctx context.Context) {
			c.end()
			<-ctx.Done()
			want(t, context.Cause(ctx), c.cause)
		}, r.add).Run()
		want(t, r.only(t), c.cause)
	}
}

func TestCronWithoutAReportIsSilent(t *testing.T) {
	s, name := open(t, etcdtest.Shared(t).Client(t)), etcdtest.Name(t)
	adapt.CronFunc(s, name, func(ctx context.Context) {
		adapt.CronFunc(s, name, func(context.Context) { t.Error("it ran") }, nil).Run() // held
		lose(t, s)
		<-ctx.Done()
	}, nil).Run()
}

func TestCronReportsAnEtcdThatIsAwayAndDoesNotRun(t *testing.T) {
	t.Parallel()
	p := etcdtest.NewProxy(t, etcdtest.Shared(t))
	s := open(t, p.Client(t), session.WithTTL(30*time.Second))
	p.Blackhole()
	defer p.Heal()
	var r reports
	adapt.CronFunc(s, etcdtest.Name(t), func(context.Context) { t.Error("it ran") }, r.add).Run()
	want(t, r.only(t), context.DeadlineExceeded)
}

func TestCronOfAConcreteTypePanicsWhereItIsMade(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	adapt.Cron[concrete](nil, "a", nil)
}
