package adapt

import (
	"context"
	"fmt"
	"reflect"

	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

// Cron wraps a job of robfig/cron, so that each tick is run by one process among all that use the name: the one that
// gets the lock at once. The others skip the tick, and so does this one while its last run goes on.
//
//	c.AddJob("@daily", cron.NewChain(adapt.Cron[cron.Job](s, "nightly report", report)).Then(job))
//
// One name is one job. In cron.WithChain it would be one lock for all jobs of that Cron, and of two that are due at
// once one would be skipped.
//
// report, if it is not nil, is told why a tick was skipped here: errors.Is says lock.ErrHeld when somebody else runs
// it, session.ErrInvalidName, the error of an unreachable etcd after 5 s. It is also told, with session.ErrLost or
// session.ErrClosed, at the moment in which the lock is lost while the job runs: THE JOB GOES ON ALL THE SAME, for
// Run has no ctx, and another process may start the next tick beside it. A job that can be stopped belongs in
// CronFunc. report may be called from several goroutines at once; a run has not ended before it has returned.
//
// The lock is given back when the job has returned or panicked. Give it lock.WithMinHold when the clocks of the
// machines differ or the job may be short: see Gocron. A tick whose runner dies is not run again.
func Cron[J interface{ Run() }](s *session.Session, name string, report func(error), opts ...lock.Option) func(J) J {
	if _, fits := any((*CronJob)(nil)).(J); !fits { // nowhere to return an error, and a job that never runs is worse
		panic(fmt.Sprintf("adapt: Cron[%v]: want Cron[cron.Job]", reflect.TypeFor[J]()))
	}
	return func(job J) J {
		run := func(context.Context) { job.Run() }
		return any(CronFunc(s, name, run, report, opts...)).(J)
	}
}

// CronJob is a cron.Job.
type CronJob struct {
	mutex  *lock.Mutex
	name   string
	run    func(context.Context)
	report func(error)
}

// CronFunc is a job for a function that takes a ctx, which ends with the hold: when the lock is lost, and when the
// Session is closed. Everything else is as with Cron.
//
//	c.AddJob("@daily", adapt.CronFunc(s, "nightly report", func(ctx context.Context) { … }, report))
func CronFunc(s *session.Session, name string, run func(ctx context.Context), report func(error), opts ...lock.Option) *CronJob {
	if report == nil {
		report = func(error) {}
	}
	return &CronJob{lock.New(s, name, opts...), name, run, report}
}

// Run is one tick.
func (j *CronJob) Run() {
	ctx := context.Background()
	l, err := j.mutex.TryAcquire(ctx)
	if err != nil {
		j.report(err)
		return
	}
	held := l.Context()
	told := make(chan struct{})
	stop := context.AfterFunc(held, func() {
		defer close(told)
		j.report(fmt.Errorf("adapt: lock %q, while the job runs: %w", j.name, context.Cause(held)))
	})
	defer func() {
		silent := stop() // else the loss came first, and is told
		if err := release(ctx, l); err != nil && silent {
			j.report(err)
		}
		if !silent {
			<-told
		}
	}()
	j.run(held)
}
