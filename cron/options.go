package cron

import (
	"fmt"
	"time"
)

// Missed says what becomes of ticks that nobody ran in time: no Scheduler with the job was there, or none reached
// etcd, or an earlier run was not done.
type Missed int

const (
	Skip    Missed = iota // they are not run
	RunOnce               // the newest of them is run, once there is somebody to run it
	RunAll                // each is run, the oldest first, one after the other
)

// String is the constant's name.
func (m Missed) String() string {
	switch m {
	case Skip:
		return "Skip"
	case RunOnce:
		return "RunOnce"
	case RunAll:
		return "RunAll"
	}
	return fmt.Sprintf("Missed(%d)", int(m))
}

type options struct {
	missed  Missed
	late    time.Duration
	loc     *time.Location
	retries int
	overlap bool
	timeout time.Duration
	timed   bool
	jitter  time.Duration
	most    int
	bounded bool
}

// Option changes a job from its defaults. Give a job the same options in all processes: whoever claims a tick goes by
// its own.
type Option interface{ job(o *options) }

type option func(*options)

func (f option) job(o *options) { f(o) }

// WithMissed sets what becomes of missed ticks. Default Skip. atMostLate is the longest time after its own that a missed
// tick may start; later ones are passed over. It must be positive, except that Skip does not use it. A tick that is in
// time counts as the run for those missed before it under RunOnce, and comes after them under RunAll.
func WithMissed(m Missed, atMostLate time.Duration) Option {
	return option(func(o *options) { o.missed, o.late = m, atMostLate })
}

// WithLocation sets the time zone of the schedule. Default UTC. time.Local may be another zone in each process: name it.
// The package's comment says what happens on the days when clocks are changed.
func WithLocation(loc *time.Location) Option { return option(func(o *options) { o.loc = loc }) }

// WithRetries sets how often a tick is run again when its runner returned an error, panicked, or lost its claim, for
// instance because it died. Default 0. A failed attempt is repeated after half a second, and after twice as long each
// time, up to a minute; one whose runner is gone, at once. The others are asked first. A retry is not a missed
// tick: it is made however late. Each attempt has a larger Token than the one before, and its own entry in History.
func WithRetries(n int) Option { return option(func(o *options) { o.retries = n }) }

// WithOverlap lets a tick start while an earlier one is still running, up to 64 of them, here or elsewhere. By default
// it does not start, and is a missed one. With RunAll, missed ticks then start side by side.
func WithOverlap() Option { return option(func(o *options) { o.overlap = true }) }

// WithTimeout ends the ctx of a run that takes longer than d, with ErrTimeout. The run has failed then, whatever its
// function returns, and may be tried again (WithRetries). A function that ignores its ctx keeps the job from running again:
// Trace.Overrun tells. By default a run may take as long as it likes.
func WithTimeout(d time.Duration) Option {
	return option(func(o *options) { o.timeout, o.timed = d, true })
}

// WithJitter delays each tick by a time up to d that is the same in all processes and another for each tick, so that jobs
// with the same schedule do not start at the same moment. A tick that is delayed past the next one is missed: d has to be
// shorter than the schedule's shortest interval. Default 0.
func WithJitter(d time.Duration) Option { return option(func(o *options) { o.jitter = d }) }

// WithMaxMissed bounds how many missed ticks RunAll runs: of more, the newest n. The default is all that WithMissed allows.
func WithMaxMissed(n int) Option { return option(func(o *options) { o.most, o.bounded = n, true }) }

// OnMissed is WithMissed.
//
// Deprecated: use WithMissed.
func OnMissed(m Missed, atMostLate time.Duration) Option { return WithMissed(m, atMostLate) }

// In is WithLocation.
//
// Deprecated: use WithLocation.
func In(loc *time.Location) Option { return WithLocation(loc) }

// Retry is WithRetries.
//
// Deprecated: use WithRetries.
func Retry(n int) Option { return WithRetries(n) }

func (o *options) check() error {
	switch {
	case o.timed && o.timeout <= 0:
		return fmt.Errorf("WithTimeout(%v): it must be positive", o.timeout)
	case o.jitter < 0:
		return fmt.Errorf("WithJitter(%v): it must not be negative", o.jitter)
	case o.bounded && o.most <= 0:
		return fmt.Errorf("WithMaxMissed(%d): it must be positive", o.most)
	case o.bounded && o.missed != RunAll:
		return fmt.Errorf("WithMaxMissed(%d): only WithMissed(RunAll, …) makes ticks good", o.most)
	case o.missed != Skip && o.missed != RunOnce && o.missed != RunAll:
		return fmt.Errorf("WithMissed(%v): want Skip, RunOnce or RunAll", o.missed)
	case o.late < 0:
		return fmt.Errorf("WithMissed(%v, %v): how late must not be negative", o.missed, o.late)
	case o.late == 0 && o.missed != Skip:
		return fmt.Errorf("WithMissed(%v, 0): say how late a tick may start", o.missed)
	case o.retries < 0:
		return fmt.Errorf("WithRetries(%d): it must not be negative", o.retries)
	}
	return nil
}
