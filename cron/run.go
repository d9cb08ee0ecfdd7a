package cron

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/fence"
	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/meter"
)

// running is a tick that runs here.
type running struct {
	job    *job
	epoch  *keeper.Epoch
	tick   open
	token  int64
	lease  clientv3.LeaseID
	began  time.Time
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu   sync.Mutex
	over bool  // fn has returned
	late bool  // and was not called: it was too late for it
	room bool  // it takes room in the Scheduler
	slow bool  // it has taken longer than it may
	lost error // before that
}

// begin starts fn under a claim. room: it takes some in the Scheduler.
func (j *job) begin(ctx context.Context, e *keeper.Epoch, tick open, token int64, room bool) {
	late := j.tooLate(tick)
	if late { // the claim took that long
		tick.Retries = 0
	}
	r := &running{job: j, epoch: e, tick: tick, token: token, began: j.sched.now(), late: late, room: room}
	inner, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	r.ctx, r.cancel = runContext{inner, r}, cancel
	j.mu.Lock()
	if r.lease = e.ID(); j.state.claims[tick.Slot].modify == token { // one of the epoch's
		r.lease = clientv3.LeaseID(j.state.claims[tick.Slot].lease)
	}
	j.running[tick.Claim] = r
	j.holds(r) // the watch may have been faster than the answer to the claim
	j.changed()
	j.mu.Unlock()
	e.OnLoss(r, r.lose)
	if !late {
		j.keeper.Granted("cron", j.name, r.began.Sub(tick.Scheduled))
	}
	go func() {
		defer j.ended(r)
		err := r.call()
		if r.finish() {
			j.complete(ctx, r, err)
		} else {
			j.spend(tick.Claim)
		}
	}()
}

// ended is the last that is heard of a run here.
func (j *job) ended(r *running) {
	j.mu.Lock()
	delete(j.running, r.tick.Claim)
	j.changed()
	j.mu.Unlock()
	if r.room {
		j.sched.leave()
	}
}

// spend notes that a claim, should it still stand, is not to be adopted: it has been run.
func (j *job) spend(id string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.spent[id] = true
}

// runContext looks at the clock when it is asked for its error: in a process that was stopped, that question can come
// before the timer that ends the context.
type runContext struct {
	context.Context
	run *running
}

func (c runContext) Err() error {
	if c.Context.Err() == nil {
		if err := c.run.epoch.Err(); err != nil {
			c.run.lose(err)
		}
	}
	return c.Context.Err()
}

// lose ends the ctx of a run whose claim is lost.
func (r *running) lose(cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over || r.lost != nil {
		return
	}
	r.lost = cause
	r.cancel(cause)
	r.job.keeper.Log.Warn("cron run lost its claim", "job", r.job.name, "tick", r.tick.Scheduled, "cause", cause)
	if !r.late {
		r.job.keeper.Lost("cron", r.job.name, cause)
	}
	time.AfterFunc(margin, r.overrun)
}

// margin is what fn has to return after its claim is lost. After a deadline, etcd gives the claim away at the soonest after
// so long.
const margin = 250 * time.Millisecond

// overrun says that fn still runs, though its claim is lost and another attempt may be under way.
func (r *running) overrun() {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.over:
	case r.lost == nil:
		r.job.keeper.Log.Error("cron job still runs, though its time is up", "job", r.job.name, "tick", r.tick.Scheduled, "timeout", r.job.timeout)
		r.job.keeper.Overrun("cron", r.job.name, margin)
	default:
		r.job.keeper.Log.Error("cron job still runs, though its claim is lost", "job", r.job.name, "tick", r.tick.Scheduled, "since", margin, "cause", r.lost)
		r.job.keeper.Overrun("cron", r.job.name, margin)
	}
}

// call runs fn, unless its claim was lost before it could begin. A fn that ends its goroutine has failed too.
func (r *running) call() (err error) {
	switch {
	case r.ctx.Err() != nil:
		return context.Cause(r.ctx)
	case r.late:
		r.job.tell(Run{Scheduled: r.tick.Scheduled, Missed: 1})
		return fmt.Errorf("missed: it was claimed %v after its time", r.began.Sub(r.tick.Scheduled).Round(time.Millisecond))
	}
	if r.job.timeout > 0 {
		defer time.AfterFunc(r.job.timeout, r.timeOut).Stop()
	}
	told := keeper.CronRun{Job: r.job.name, Scheduled: r.tick.Scheduled, Attempt: r.tick.Attempt, Late: max(r.began.Sub(r.tick.Scheduled), 0)}
	r.ctx = r.job.keeper.RunStart(r.ctx, told)
	defer func() { r.toldEnd(told, err) }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = errors.New("fn ended its goroutine")
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v", p)
				r.job.keeper.Log.Error("cron job panicked", "job", r.job.name, "panic", p, "stack", string(debug.Stack()))
			}
		}()
		tick := Tick{Job: r.job.name, Scheduled: r.tick.Scheduled.In(r.job.loc), Attempt: r.tick.Attempt, Token: fence.TokenAt(r.token, 0), run: r}
		err = r.job.keeper.Labelled(r.ctx, "cron", r.job.name, func(ctx context.Context) error { return r.job.fn(ctx, tick) })
	}()
	<-done
	r.mu.Lock()
	slow := r.slow
	r.mu.Unlock()
	if slow {
		return fmt.Errorf("%w %v", ErrTimeout, r.job.timeout)
	}
	return err
}

// toldEnd tells hooks how a run has ended.
func (r *running) toldEnd(told keeper.CronRun, err error) {
	r.mu.Lock()
	how := meter.Succeeded
	switch {
	case r.lost != nil:
		how = meter.ClaimLost
		err = errors.Join(err, r.lost)
	case r.slow:
		how = meter.TimedOut
	case err != nil:
		how = meter.Erred
	}
	r.mu.Unlock()
	now := r.job.sched.now()
	r.job.keeper.RunEnd(r.ctx, told, keeper.CronRunEnd{Took: now.Sub(r.began), Err: err}, how, now)
}

// ErrTimeout is the cause with which the ctx of a run ends that takes longer than WithTimeout allows.
var ErrTimeout = errors.New("cron: the run has taken longer than")

// timeOut ends the ctx of a run that has taken too long.
func (r *running) timeOut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over || r.lost != nil {
		return
	}
	r.slow = true
	r.cancel(fmt.Errorf("%w %v", ErrTimeout, r.job.timeout))
	time.AfterFunc(margin, r.overrun)
}

// finish ends the run's ctx. It returns false if the claim was lost before.
func (r *running) finish() bool {
	_ = r.ctx.Err() // looks at the clock
	r.epoch.Forget(r)
	r.mu.Lock()
	r.over = true
	lost := r.lost
	r.mu.Unlock()
	r.cancel(keeper.ErrNotHeld)
	if lost == nil && !r.late {
		r.job.keeper.Released("cron", r.job.name, r.job.sched.now().Sub(r.began))
	}
	return lost == nil
}

// complete records how a run ended and gives its claim back, in one transaction that needs the claim. It tries for as
// long as the claim may stand.
func (j *job) complete(ctx context.Context, r *running, failed error) {
	now := j.sched.now().UTC().Truncate(time.Millisecond)
	run := Run{Job: j.name, Scheduled: r.tick.Scheduled, Started: r.tick.Started, Finished: now, By: r.tick.By, Attempt: r.tick.Attempt}
	if failed != nil {
		run.Err = shorten(failed)
	}
	j.mu.Lock()
	s := j.state
	j.mu.Unlock()
	for failed := 1; ; {
		if s.revision >= r.token && s.claims[r.tick.Slot].modify != r.token {
			return // lost, or an earlier request has got through
		}
		done, after, err := j.completeOnce(&s, r, run)
		if err == nil {
			j.learn(after)
			if done {
				return
			}
			s = after
			continue
		}
		j.keeper.Log.Warn("end of a cron run not recorded yet", "job", j.name, "tick", run.Scheduled, "error", err)
		if !j.again(r.epoch, failed) || ctx.Err() != nil && etcd.Final(err) {
			j.spend(r.tick.Claim)
			return
		}
		failed++
	}
}

func (j *job) completeOnce(s *state, r *running, run Run) (bool, state, error) {
	c := change{slot: r.tick.Slot, claim: r.token}
	more, err := j.note(s, c, run)
	if err != nil {
		return false, state{}, err
	}
	c.more = more
	return j.commit(s, s.record.ended(r.tick, run, false), c)
}

// shorten bounds the text of an error, which stands in etcd. It always says something.
func shorten(err error) string {
	text := err.Error()
	if text == "" {
		return "an error without a text"
	}
	if len(text) > maxErr {
		text = strings.ToValidUTF8(text[:maxErr], "") + "…"
	}
	return text
}
