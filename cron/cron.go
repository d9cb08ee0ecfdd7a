package cron

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/fence"
	"github.com/fenceline/fenceline/internal/chance"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/session"
)

// Tick is one scheduled time of one job.
type Tick struct {
	Job       string
	Scheduled time.Time   // in the job's time zone
	Attempt   int         // 1, and one more with each retry
	Token     fence.Token // larger with each run of the job that does not overlap the one before

	run *running
}

// Context is fn's: it ends when the claim on the tick is lost, or the run has taken longer than WithTimeout allows.
func (t Tick) Context() context.Context {
	if t.run == nil {
		return context.Background()
	}
	return t.run.ctx
}

// Deadline is until when the claim may be trusted, if no renewal gets through before; the zero time once it has ended.
func (t Tick) Deadline() time.Time {
	if t.run == nil || t.run.ctx.Err() != nil {
		return time.Time{}
	}
	return time.Now().Add(t.run.epoch.Remaining())
}

// Lease is the lease that the claim hangs on; clientv3.NoLease of a Tick that is no run's.
func (t Tick) Lease() clientv3.LeaseID {
	if t.run == nil {
		return clientv3.NoLease
	}
	return t.run.lease
}

// Scheduler runs this process's share of the ticks. It is safe for concurrent use. One per Session is the normal
// number.
type Scheduler struct {
	keeper *keeper.Keeper
	now    func() time.Time
	by     string // who we are, for people
	mine   string // what the IDs of our claims begin with
	gate   gate
	room   chan struct{} // runs at a time; nil: no bound
	clock  clocks

	mu     sync.Mutex
	jobs   map[string]*job
	start  func(*job) // while Run runs
	claims int64
}

// SchedulerOption changes a Scheduler from its defaults.
type SchedulerOption interface{ scheduler(c *Scheduler) }

type schedulerOption func(*Scheduler)

func (f schedulerOption) scheduler(c *Scheduler) { f(c) }

// WithMaxRunning bounds how many runs a Scheduler has at a time, of all jobs. What it has no room for it leaves to others; a tick that
// finds room nowhere is late, or missed. Zero or less: no bound, which is the default.
func WithMaxRunning(n int) SchedulerOption {
	return schedulerOption(func(c *Scheduler) {
		c.room = nil
		if n > 0 {
			c.room = make(chan struct{}, n)
		}
	})
}

// New does no I/O.
func New(s *session.Session, opts ...SchedulerOption) *Scheduler {
	k := keeper.Of(s)
	c := &Scheduler{keeper: k, now: time.Now, by: who(k.Record), mine: fmt.Sprintf("%016x-", chance.Uint64()),
		gate: newGate(), jobs: map[string]*job{}}
	for _, opt := range opts {
		opt.scheduler(c)
	}
	return c
}

func (c *Scheduler) full() bool { return c.room != nil && len(c.room) == cap(c.room) }

// enter takes room for a run, if there is any; leave gives it back.
func (c *Scheduler) enter() bool {
	if c.room == nil {
		return true
	}
	select {
	case c.room <- struct{}{}:
		return true
	default:
		return false
	}
}

func (c *Scheduler) leave() {
	if c.room == nil {
		return
	}
	<-c.room
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, j := range c.jobs { // they may have waited for it
		j.nudge()
	}
}

// who is a session as `fenceline ls` calls it.
func who(text string) string {
	var r session.Record
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return "unknown"
	}
	name := r.Name
	if r.Host != "" {
		name += "@" + r.Host
	}
	return fmt.Sprintf("%s pid %d", name, r.PID)
}

// Add runs fn at the ticks of schedule: five fields (minute, hour, day of month, month, day of week), or @hourly,
// @daily, @weekly, @monthly, @yearly, or @every with a duration in whole seconds. It does no I/O; while Run runs the
// job takes part at once. Ticks that come after Add, or after Run has begun, whichever is later, find this process
// there.
//
// An invalid name, schedule or option, a nil fn, and a job that has been added before are errors.
//
// fn's ctx carries the values of Run's ctx, but does not end with it. It ends when the claim on the tick is lost: with
// session.ErrExpired, ErrRevoked or ErrEntryGone, all of which are session.ErrLost, or with session.ErrClosed when
// the Session is closed; context.Cause tells. The tick may then be run elsewhere. A panic of fn is caught, logged and
// counts as an error.
func (c *Scheduler) Add(name, schedule string, fn func(ctx context.Context, t Tick) error, opts ...Option) error {
	j, err := newJob(c, name, schedule, fn, opts)
	if err != nil {
		return fmt.Errorf("cron: add: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.jobs[name] != nil {
		return fmt.Errorf("cron: add: job %q has been added before", name)
	}
	c.jobs[name] = j
	if c.start != nil {
		c.start(j)
	}
	return nil
}

func newJob(c *Scheduler, name, text string, fn func(context.Context, Tick) error, opts []Option) (*job, error) {
	if err := keyspace.CheckName("job", name); err != nil {
		return nil, err
	}
	o := options{loc: time.UTC}
	for _, opt := range opts {
		opt.job(&o)
	}
	text = strings.Join(strings.Fields(text), " ") // the same in all processes that mean the same
	parsed, err := parse(text, o.loc)
	if err == nil {
		err = o.check()
	}
	if err == nil && fn == nil {
		err = errors.New("the function is nil")
	}
	if err != nil {
		return nil, fmt.Errorf("job %q: %w", name, err)
	}
	return &job{sched: c, keeper: c.keeper, name: name, fn: fn, loc: o.loc,
		prefix: keyspace.Line(c.keeper.Namespace, "cron", name),
		rules: rules{schedule: parsed, text: text, zone: o.loc.String(), missed: o.missed, late: o.late,
			overlap: o.overlap, retries: o.retries, jitter: o.jitter, most: o.most}, timeout: o.timeout,
		running: map[string]*running{}, spent: map[string]bool{}, after: map[attempt]time.Time{}, wake: make(chan struct{}, 1), unseen: errUnseen}, nil
}

// Run takes part in running the jobs until ctx ends; then it starts no more, waits for those that run here, and
// returns nil. Their contexts do not end with ctx: they are let finish. Who cannot wait that long closes the Session,
// which ends them.
//
// While etcd is away Run keeps trying; a claim whose answer got lost is settled before Run returns, which takes up to
// the TTL. It returns session.ErrClosed when the Session is closed, and another error if etcd refuses access from the
// start or the client was closed. A second Run at the same time is an error.
func (c *Scheduler) Run(ctx context.Context) error {
	r := &runner{}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	defer r.cancel(nil)
	defer context.AfterFunc(c.keeper.Context(), func() { r.cancel(c.keeper.Closed()) })()

	c.mu.Lock()
	if c.start != nil {
		c.mu.Unlock()
		return errors.New("cron: run: it runs already")
	}
	c.start = func(j *job) { r.jobs.Go(func() { r.done(j, j.run(r.ctx)) }) }
	for _, j := range c.jobs {
		c.start(j)
	}
	c.mu.Unlock()
	r.jobs.Go(func() { c.announce(r.ctx) })

	<-r.ctx.Done()
	c.mu.Lock()
	c.start = nil
	c.mu.Unlock()
	r.jobs.Wait()
	switch {
	case r.failed != nil:
		return fmt.Errorf("cron: run: %w", r.failed)
	case c.keeper.Context().Err() != nil:
		return fmt.Errorf("cron: run: %w", c.keeper.Closed())
	}
	return nil
}

// runner is one call of Run.
type runner struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	jobs   sync.WaitGroup

	mu     sync.Mutex
	failed error // the first that ended it
}

func (r *runner) done(j *job, err error) {
	if err == nil {
		return
	}
	r.mu.Lock()
	if r.failed == nil {
		r.failed = fmt.Errorf("job %q: %w", j.name, err)
	}
	r.mu.Unlock()
	r.cancel(err)
}

// claimID is one that nobody has used.
func (c *Scheduler) claimID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.claims++
	return fmt.Sprintf("%s%d", c.mine, c.claims)
}
