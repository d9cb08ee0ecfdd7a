package cron

import (
	"strings"
	"time"
)

type deed int

const (
	wait     deed = iota // for something to happen, at the latest until step.at
	start                // claim step.tick and run it
	adopt                // step.tick is claimed by us, and we do not know of it: run it
	bury                 // step.tick has lost its runner
	passOver             // the ticks up to step.tick, and that, were missed
)

// step is what is to be done next for a job.
type step struct {
	do   deed
	tick open
	at   time.Time // wait: when the next tick or attempt comes; zero: never
}

// here is what a Scheduler knows of a job beside the state in etcd.
type here struct {
	now, since time.Time // since: see rules.due
	mine       string    // what the IDs of our claims begin with
	running    map[string]bool
	spent      map[string]bool       // claims of ours that have been run, however it ended
	after      map[attempt]time.Time // when those that wait may be made
	last       bool                  // no more ticks are to be started
	full       bool                  // as many run here as may
}

// attempt is what keeps an open tick that waits apart from others.
type attempt struct {
	scheduled int64 // Unix seconds
	number    int
}

func attemptOf(o open) attempt { return attempt{o.Scheduled.Unix(), o.Attempt} }

// next decides. Dead runners come first, since they may keep others waiting; then attempts that wait, the oldest
// tick first; then new ticks.
func (r *rules) next(s *state, h here) step {
	if s.broken != nil || h.last {
		return step{}
	}
	for _, o := range s.record.Open {
		switch {
		case o.Claim == "" || h.running[o.Claim]:
		case !s.stands(o):
			return step{do: bury, tick: o}
		case strings.HasPrefix(o.Claim, h.mine) && !h.spent[o.Claim]:
			return step{do: adopt, tick: o}
		}
	}
	tick, at := waiting(s, h)
	if tick != nil && !h.full && s.record.Paused == nil && !r.busy(s, len(h.running)) {
		return step{do: start, tick: *tick}
	}
	if h.full || !r.mayStart(s, len(h.running)) {
		return step{at: at}
	}
	if a := s.record.Asked; a != nil {
		return step{do: start, tick: open{Scheduled: a.At, Attempt: 1, Retries: r.retries, Asked: a.ID}}
	}
	if s.record.Paused != nil {
		return step{}
	}
	if tick, ok := r.due(s.record.Last, h.since, h.now, r.anew(s)); ok {
		return step{do: start, tick: open{Scheduled: tick, Attempt: 1, Retries: r.retries}}
	}
	if tick, ok := r.missedNow(s.record.dealt(), h.now); ok && !r.anew(s) {
		return step{do: passOver, tick: open{Scheduled: tick}}
	}
	return step{at: earliest(at, r.schedule.Next(latest(s.record.Last, h.now)))}
}

// anew says that nobody knows what was to be run until now.
func (r *rules) anew(s *state) bool {
	return s.modified == 0 || !same(s.record.Schedule, r.text) || s.record.Zone != r.zone
}

// waiting is the oldest tick that another attempt may be made at, and when the next one may.
func waiting(s *state, h here) (first *open, at time.Time) {
	for i, o := range s.record.Open {
		after := h.after[attemptOf(o)]
		switch {
		case o.Claim != "":
		case h.now.Before(after):
			at = earliest(at, after)
		case first == nil || o.Scheduled.Before(first.Scheduled):
			first = &s.record.Open[i]
		}
	}
	return first, at
}

// earliest passes over zero times.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// busy says whether no attempt may be started because one runs. One that runs here and has lost its claim counts: it
// is the others who may start then.
func (r *rules) busy(s *state, running int) bool {
	if r.overlap {
		return len(s.claims) >= maxOpen
	}
	return len(s.claims) > 0 || running > 0
}

// mayStart says whether a new tick may be started: without overlap, not before those that are open are done.
func (r *rules) mayStart(s *state, running int) bool {
	if r.overlap {
		return len(s.claims) < maxOpen && len(s.record.Open) < maxOpen
	}
	return !r.busy(s, running) && len(s.record.Open) == 0
}
