package keeper

import (
	"sync/atomic"
	"time"
)

// Clock tells the time elapsed since some fixed moment.
type Clock interface{ Elapsed() time.Duration }

// systemClock goes on while the machine is suspended, which Go's own clock (CLOCK_MONOTONIC on Linux) does not:
// elapsed time is the larger of that and CLOCK_BOOTTIME.
//
// Reading the boot time is a system call and costs ten times a time.Now. A suspend moves the wall clock against the
// monotonic one by its whole length, so the boot time is read when the two have moved apart by a millisecond, and at
// least every ten milliseconds. The wall clock is only that hint: no answer is computed from it, and stepping it
// does nothing.
type systemClock struct {
	start     time.Time
	bootStart time.Duration
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

func newSystemClock() *systemClock {
	c := &systemClock{start: time.Now()}
	c.bootStart, _ = bootTime() // where it fails, it fails always, and asleep stays zero
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
	s := &bootSample{at: mono, wall: wall}
	if boot, ok := bootTime(); ok {
		// Monotonic time is read again after the boot time: a process that is preempted between the two takes the
		// sleep for shorter than it was, until the next sample, and never invents one.
		s.asleep = max(0, boot-c.bootStart-time.Since(c.start))
	}
	if last := c.last.Load(); last != nil {
		s.asleep = max(s.asleep, last.asleep) // elapsed time does not go back
	}
	c.last.Store(s)
	return s
}
