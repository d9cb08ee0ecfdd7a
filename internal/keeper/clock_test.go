package keeper

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// machine has a boot time that includes its sleep.
type machine struct {
	booted time.Time
	asleep atomic.Int64
	reads  atomic.Int32
}

func (m *machine) boot() (time.Duration, bool) {
	m.reads.Add(1)
	return 1000*time.Hour + time.Since(m.booted) + time.Duration(m.asleep.Load()), true
}

func TestClockSeesSuspends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{booted: time.Now()}
		c := newClock(m.boot)
		time.Sleep(time.Second)
		if got := c.Elapsed(); got != time.Second {
			t.Fatalf("%v after a second", got)
		}
		m.asleep.Store(int64(time.Hour))
		time.Sleep(bootMaxAge)
		if got, want := c.Elapsed(), time.Hour+time.Second+bootMaxAge; got != want {
			t.Errorf("%v after a suspend of an hour, want %v", got, want)
		}
	})
}

func TestClockReadsTheBootTimeRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{booted: time.Now()}
		c := newClock(m.boot)
		for range 1000 {
			c.Elapsed()
		}
		if n := m.reads.Load(); n != 2 {
			t.Errorf("%d readings at one moment, want one at the start and one at the first question", n)
		}
	})
}

func TestClockNeverGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{booted: time.Now()}
		c := newClock(m.boot)
		last := c.Elapsed()
		for i := range 100 {
			m.asleep.Store(int64(i%3) * int64(time.Hour)) // readings that cannot be
			time.Sleep(bootMaxAge)
			now := c.Elapsed()
			if now < last {
				t.Fatalf("%v after %v", now, last)
			}
			last = now
		}
	})
}

func TestClockDoesNotGoBackByAReadingThatWasOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{booted: time.Now()}
		held := make(chan struct{})
		c := newClock(func() (time.Duration, bool) {
			d, ok := m.boot()
			if m.reads.Load() == 3 {
				<-held
			}
			return d, ok
		})
		c.Elapsed()
		time.Sleep(bootMaxAge)
		go c.Elapsed() // reads, and is preempted
		synctest.Wait()
		m.asleep.Store(int64(time.Hour))
		before := c.Elapsed()
		close(held)
		synctest.Wait()
		if now := c.Elapsed(); now < before {
			t.Errorf("%v after %v", now, before)
		}
	})
}

func TestClockGoesOnWithoutABootTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock(func() (time.Duration, bool) { return 0, false })
		time.Sleep(time.Minute)
		if got := c.Elapsed(); got != time.Minute {
			t.Errorf("%v after a minute", got)
		}
	})
}

func TestClockOfThisMachineRunsAtItsRate(t *testing.T) {
	c := newSystemClock()
	first, began := c.Elapsed(), time.Now()
	if first < 0 || first > time.Second {
		t.Fatalf("it begins at %v", first)
	}
	for time.Since(began) < 30*time.Millisecond {
		if got, least := c.Elapsed()-first, time.Duration(0); got < least {
			t.Fatalf("%v", got)
		}
	}
	least := time.Since(began)
	if got := c.Elapsed() - first; got < least || got > time.Since(began)+time.Second {
		t.Errorf("%v passed in %v", got, time.Since(began))
	}
}
