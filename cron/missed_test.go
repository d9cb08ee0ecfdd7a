package cron

import (
	"context"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

// downtime has one tick of @every 1m run, at 12:01, has the whole fleet go away, and comes back at 12:04:30.
func downtime(t *testing.T, opts ...Option) (*clock, *book) {
	t.Helper()
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	c, b := newClock("2026-01-01T12:00:30Z"), &book{}
	first := c.process(t, client)
	add(t, first, name, "@every 1m", b.job(0, nil), opts...)
	stop := run(t, first)
	following(t, first)
	c.forward(30 * time.Second)
	c.until(t, "the first tick", func() bool { return len(history(t, first, name)) == 1 })
	stop()

	c.forward(at("2026-01-01T12:04:30Z").Sub(c.now()))
	next := c.process(t, client)
	add(t, next, name, "@every 1m", b.job(1, nil), opts...)
	run(t, next)
	following(t, next)
	for range 50 {
		c.forward(20 * time.Millisecond)
		time.Sleep(5 * time.Millisecond) // for what should not happen
	}
	c.forward(at("2026-01-01T12:05:00Z").Sub(c.now()))
	c.until(t, "the next tick", func() bool {
		all := b.all()
		return all[len(all)-1].Scheduled.Equal(at("2026-01-01T12:05:00Z"))
	})
	return c, b
}

func minutes(b *book) (m []int) {
	for _, tick := range b.all() {
		m = append(m, tick.Scheduled.Minute())
	}
	return m
}

func mustBe(t *testing.T, got []int, want ...int) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%v, want %v", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("%v, want %v", got, want)
		}
	}
}

func TestSkipRunsNoTickThatTheFleetMissed(t *testing.T) {
	t.Parallel()
	_, b := downtime(t)
	mustBe(t, minutes(b), 1, 5)
}

func TestRunOnceRunsTheNewestThatTheFleetMissed(t *testing.T) {
	t.Parallel()
	_, b := downtime(t, WithMissed(RunOnce, time.Hour))
	mustBe(t, minutes(b), 1, 4, 5)
}

func TestRunAllRunsWhatTheFleetMissedInOrder(t *testing.T) {
	t.Parallel()
	_, b := downtime(t, WithMissed(RunAll, time.Hour))
	mustBe(t, minutes(b), 1, 2, 3, 4, 5)
}

func TestMissedTicksThatAreTooLateAreNotRun(t *testing.T) {
	t.Parallel()
	_, b := downtime(t, WithMissed(RunAll, 2*time.Minute))
	mustBe(t, minutes(b), 1, 3, 4, 5)
	_, b = downtime(t, WithMissed(RunOnce, 10*time.Second))
	mustBe(t, minutes(b), 1, 5)
}

func TestNewJobHasMissedNothing(t *testing.T) {
	t.Parallel()
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	c, b := newClock("2026-01-01T12:00:02Z"), &book{}
	s := c.process(t, client)
	add(t, s, name, "@every 1m", b.job(0, nil), WithMissed(RunAll, time.Hour))
	run(t, s)
	following(t, s)
	c.forward(58 * time.Second)
	c.until(t, "a tick", func() bool { return b.len() > 0 })
	mustBe(t, minutes(b), 1)
}

// busyJob runs from 12:01 to after 12:04, and answers what is run up to 12:05.
func busyJob(t *testing.T, opts ...Option) *book {
	t.Helper()
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	c, b := newClock("2026-01-01T12:00:30Z"), &book{}
	var all []*Scheduler
	finish := make(chan struct{})
	for i := range 2 {
		s := c.process(t, client)
		add(t, s, name, "@every 1m", b.job(i, func(_ context.Context, t Tick) error {
			if t.Scheduled.Minute() == 1 {
				<-finish
			}
			return nil
		}), opts...)
		run(t, s)
		all = append(all, s)
		following(t, s)
	}
	c.forward(30 * time.Second)
	c.until(t, "the first tick", func() bool { return b.len() == 1 })
	for _, minute := range []string{"02", "03", "04"} {
		before := b.len()
		c.forward(at("2026-01-01T12:" + minute + ":00Z").Sub(c.now()))
		for range 30 {
			c.forward(20 * time.Millisecond)
			time.Sleep(5 * time.Millisecond)
		}
		if overlapped := b.len() > before; overlapped != all[0].jobs[name].rules.overlap {
			t.Errorf("a tick started while another ran: %v", overlapped)
		}
	}
	close(finish)
	eventually(t, "the end of the first", func() bool { return len(claimKeys(t, client, name)) == 0 })
	for range 60 {
		c.forward(20 * time.Millisecond)
		time.Sleep(5 * time.Millisecond)
	}
	c.forward(at("2026-01-01T12:05:00Z").Sub(c.now()))
	c.until(t, "the next tick", func() bool {
		all := b.all()
		return all[len(all)-1].Scheduled.Equal(at("2026-01-01T12:05:00Z"))
	})
	return b
}

func TestTicksThatComeWhileTheJobRunsAreMissed(t *testing.T) {
	t.Parallel()
	mustBe(t, minutes(busyJob(t)), 1, 5)
	mustBe(t, minutes(busyJob(t, WithMissed(RunOnce, time.Hour))), 1, 4, 5)
	mustBe(t, minutes(busyJob(t, WithMissed(RunAll, time.Hour))), 1, 2, 3, 4, 5)
}

func TestOverlapStartsTicksWhileTheJobRuns(t *testing.T) {
	t.Parallel()
	mustBe(t, minutes(busyJob(t, WithOverlap())), 1, 2, 3, 4, 5)
}

func TestJobWhoseScheduleChangedHasMissedNothing(t *testing.T) {
	t.Parallel()
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	c, b := newClock("2026-01-01T12:00:30Z"), &book{}
	for i, schedule := range []string{"@every 1h", "@every 1m"} {
		s := c.process(t, client)
		add(t, s, name, schedule, b.job(i, nil), WithMissed(RunAll, 24*time.Hour))
		stop := run(t, s)
		following(t, s)
		c.forward(at([]string{"2026-01-01T13:00:00Z", "2026-01-01T13:31:00Z"}[i]).Sub(c.now()))
		c.until(t, "a tick", func() bool { return len(history(t, s, name)) == i+1 })
		stop()
		c.forward(30*time.Minute + 10*time.Second)
	}
	mustBe(t, minutes(b), 0, 31)
}

func TestClockThatIsPutBackLeavesNoGapBeyondWhatItHasRun(t *testing.T) {
	t.Parallel()
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	c, b := newClock("2026-01-01T15:00:30Z"), &book{}
	s := c.process(t, client)
	add(t, s, name, "@every 1m", b.job(0, nil))
	run(t, s)
	following(t, s)
	c.forward(-3 * time.Hour)
	time.Sleep(20 * time.Millisecond)
	c.forward(30 * time.Second)
	c.until(t, "a tick", func() bool { return b.len() == 1 })
	mustBe(t, minutes(b), 1)
}
