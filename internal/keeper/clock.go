package keeper

import (
	"context"
	"sync/atomic"
	"time"
)

// Clock tells the time elapsed since some fixed moment.
type Clock interface{ Elapsed() time.Duration }

type clockKey struct{}

// WithClock makes a context for a client whose sessions are to read clock instead of the system's: in virtual time, which the
// boot time does not obey.
func WithClock(ctx context.Context, clock Clock) context.Context {
	return context.WithValue(ctx, clockKey{}, clock)
}

func clockOf(ctx context.Context) Clock {
	if c, ok := ctx.Value(clockKey{}).(Clock); ok {
		return c
	}
	return newSystemClock()
}

// systemClock goes on while the machine is suspended, which Go's own clock (CLOCK_MONOTONIC on Linux) does not:
// elapsed time is the larger of that and CLOCK_BOOTTIME.
//
// Reading the boot time is a system call and costs ten times a time.Now. A suspend moves the wall clock against the
// monotonic one by its whole length, so the boot time is read when the two have moved apart by a millisecond, and at
// least every ten milliseconds. The wall clock is only that hint: no answer is computed from it, and stepping it
// does nothing.
type systemClock struct {
	boot      func() (time.Duration, bool)
	bootStart time.Duration
	start     time.Time
	last      atomic.Pointer[bootSample]
}

type bootSample struct {
	at     time.Duration // monotonic time of the reading
	wall   time.Duration // wall minus monotonic time at the reading
	asleep time.Duration // boot minus monotonic time: how long the machine has slept
}

const (
	bootHint   = time.Millisecond
	bootMaxAge = 10 * time.Millisecond
)

func newSystemClock() *systemClock { return newClock(bootTime) }

func newClock(boot func() (time.Duration, bool)) *systemClock {
	c := &systemClock{boot: boot}
	// In this order, a process that is preempted in between counts that time once, as sleep; in the other it would
	// take its first sleep for shorter than it was.
	c.bootStart, _ = boot() // where it fails, it fails always, and asleep stays zero
	c.start = time.Now()
	return c
}

func (c *systemClock) Elapsed() time.Duration {
	now := time.Now()
	mono := now.Sub(c.start)
	wall := time.Duration(now.UnixNano()) - mono
	last := c.last.Load()
	if last == nil || (wall-last.wall).Abs() >= bootHint || mono-last.at >= bootMaxAge {
		last = c.sample(mono, wall)
	}
	return mono + last.asleep
}

func (c *systemClock) sample(mono, wall time.Duration) *bootSample {
	for {
		last := c.last.Load()
		s := &bootSample{at: mono, wall: wall}
		if boot, ok := c.boot(); ok {
			// Monotonic time is read again after the boot time: a process that is preempted between the two takes the
			// sleep for shorter than it was, until the next sample, and never invents one.
			s.asleep = max(0, boot-c.bootStart-time.Since(c.start))
		}
		if last != nil {
			s.asleep = max(s.asleep, last.asleep) // elapsed time does not go back
		}
		if c.last.CompareAndSwap(last, s) {
			return s
		}
	}
}
