package cron

import (
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/session"
)

// clock stands still until it is put forward. Several Schedulers may go by it.
type clock struct {
	mu    sync.Mutex
	t     time.Time
	users []*Scheduler
}

func newClock(start string) *clock { return &clock{t: at(start)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

// process is a Scheduler that goes by c.
func (c *clock) process(t testing.TB, client *clientv3.Client, opts ...session.Option) *Scheduler {
	t.Helper()
	s := New(openSession(t, client, opts...))
	s.now = c.now
	c.mu.Lock()
	defer c.mu.Unlock()
	c.users = append(c.users, s)
	return s
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
	for _, s := range c.users {
		s.mu.Lock()
		for _, j := range s.jobs {
			j.nudge()
		}
		s.mu.Unlock()
	}
}

// until puts the clock forward in small steps of 20 ms, as time does, until something holds.
func (c *clock) until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	eventually(t, what, func() bool {
		if holds() {
			return true
		}
		c.forward(20 * time.Millisecond)
		return false
	})
}

// idle waits until all know that nothing runs: a tick that comes before is missed.
func idle(t testing.TB, job string, all ...*Scheduler) {
	t.Helper()
	eventually(t, "the end of all runs", func() bool {
		for _, s := range all {
			j := s.jobs[job]
			j.mu.Lock()
			busy := j.busy
			j.mu.Unlock()
			if busy {
				return false
			}
		}
		return true
	})
}

// following waits until the loops of s follow etcd, so that what comes is no longer missed.
func following(t testing.TB, s *Scheduler) {
	t.Helper()
	eventually(t, "a list of each job", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, j := range s.jobs {
			j.mu.Lock()
			listed := j.state.revision > 0
			j.mu.Unlock()
			if !listed {
				return false
			}
		}
		return true
	})
}
