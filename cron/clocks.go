package cron

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// clocks is how the clock here compares with those of others, as their claims show when they arrive.
type clocks struct {
	mu   sync.Mutex
	by   time.Duration // of the latest such claim: how long ago it was made, by the clock here
	seen time.Time
}

func (c *clocks) compare(now, started time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by, c.seen = now.Sub(started), now
}

// ahead is by how much the clock here is ahead; zero: by no more than a claim may take to arrive. A claim that was held up looks
// the same, so what it shows is forgotten after a while in which it would have been confirmed.
func (c *clocks) ahead(now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by <= patience || now.Sub(c.seen) > 2*c.by+time.Minute {
		return 0
	}
	return c.by
}

// compareClocks is told of the state that the watch has just brought. It is called with the mutex held.
func (j *job) compareClocks(next *state) {
	id := next.record.Claim
	if id == j.state.record.Claim || id == "" || strings.HasPrefix(id, j.sched.mine) {
		return
	}
	for _, o := range next.record.Open {
		if o.Claim == id && !o.Started.IsZero() {
			j.sched.clock.compare(j.sched.now(), o.Started)
		}
	}
}

// odd says that nobody has run the ticks before this one, though no earlier run was in the way: because nobody was there, or etcd
// was away; or because they are yet to come, and the clock here is ahead.
func (j *job) odd(s *state, tick open) bool {
	if tick.Attempt > 1 || tick.Asked != "" || j.rules.anew(s) || j.rules.between(s.record.Last, tick.Scheduled) == 0 {
		return false
	}
	last := newest(j.rules.schedule, s.record.Last, tick.Scheduled.Add(-1))
	return s.record.Latest == nil || s.record.Latest.Finished.Before(last)
}

// obstacle is why no tick is run here; nil: none.
func (j *job) obstacle(s *state, now time.Time) error {
	switch {
	case s.broken != nil:
		return s.broken
	case j.held:
		return fmt.Errorf("the clock here seems to be ahead of those of others, by more than %v: ticks are left to them", patience)
	case s.record.Last.After(now.Add(patience)):
		return fmt.Errorf("the tick of %v was run by a process whose clock was ahead, or the clock here is behind: none is run before that",
			s.record.Last.Format(time.RFC3339))
	}
	return nil
}

// stalled tells of an obstacle, and of its end, once.
func (j *job) stalled(why error) {
	text := ""
	if why != nil {
		text = why.Error()
	}
	if text == j.stall {
		return
	}
	j.stall = text
	if why != nil {
		j.keeper.Log.Error("cron job is not run here", "job", j.name, "cause", why)
	} else {
		j.keeper.Log.Info("cron job is run here again", "job", j.name)
	}
	j.keeper.Stalled("cron", j.name, why)
}
