package cron

import "time"

// patience is how late a tick may start and still be in time: an etcd that elects a leader, or a process that had no
// processor for a moment, does not make it a missed one.
const patience = 5 * time.Second

// rules are what decides which ticks of a job are run.
type rules struct {
	schedule schedule
	text     string // of the schedule
	zone     string
	missed   Missed
	late     time.Duration // for missed ticks: how late they may start
	overlap  bool
	retries  int
}

// due answers which tick is to be run at now, and how many are passed over for it. All ticks up to last have been
// dealt with. A tick at since or later is in time for patience; those that came earlier nobody here could have run:
// they are missed, as are those that another one has followed, except that nothing is missed when anew, since then it
// is not known what was to be run.
func (r *rules) due(last, since, now time.Time, anew bool) (tick time.Time, ok bool) {
	inTime := newest(r.schedule, latest(last, since.Add(-1), now.Add(-patience-1)), now)
	if r.missed == Skip || anew {
		return inTime, !inTime.IsZero()
	}
	from := latest(last, now.Add(-r.late-1))
	if r.missed == RunAll {
		tick = upTo(now, r.schedule.Next(from))
	} else {
		tick = newest(r.schedule, from, now)
	}
	if tick.IsZero() {
		tick = inTime
	}
	return tick, !tick.IsZero()
}

// newest is the last tick in (after, now], or the zero time. It looks close to now first: there may be millions.
func newest(s schedule, after, now time.Time) time.Time {
	for window := time.Minute; ; window *= 8 {
		from := latest(after, now.Add(-window))
		tick := upTo(now, s.Next(from))
		for next := tick; !next.IsZero(); next = upTo(now, s.Next(next)) {
			tick = next
		}
		if !tick.IsZero() || !from.After(after) {
			return tick
		}
	}
}

// upTo is tick, or the zero time if it lies after now.
func upTo(now, tick time.Time) time.Time {
	if tick.After(now) {
		return time.Time{}
	}
	return tick
}

func latest(first time.Time, others ...time.Time) time.Time {
	for _, t := range others {
		if t.After(first) {
			first = t
		}
	}
	return first
}
