package cron

import (
	"fmt"
	"hash/fnv"
	"time"
)

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
	jitter   time.Duration // by how much a tick may be put off
	most     int           // missed ticks that RunAll makes good at a time; 0: all
}

// due returns which tick is to be run at now, and how many are passed over for it. All ticks up to last have been
// dealt with. A tick at since or later is in time for patience; those that came earlier nobody here could have run:
// they are missed, as are those that another one has followed, except that nothing is missed when anew, since then it
// is not known what was to be run.
func (r *rules) due(last, since, now time.Time, anew bool) (tick time.Time, ok bool) {
	inTime := newest(r.schedule, latest(last, since.Add(-1), now.Add(-r.patience()-1)), now)
	if r.missed == Skip || anew {
		return inTime, !inTime.IsZero()
	}
	from := latest(last, now.Add(-r.late-1))
	if r.missed == RunAll {
		from = r.newestOf(from, now)
		tick = upTo(now, r.schedule.Next(from))
	} else {
		tick = newest(r.schedule, from, now)
	}
	if tick.IsZero() {
		tick = inTime
	}
	return tick, !tick.IsZero()
}

// until is up to when a tick may start for the first time.
func (r *rules) until(tick time.Time) time.Time {
	return tick.Add(r.lateness())
}

// patience is how late a tick may be and in time.
func (r *rules) patience() time.Duration { return patience + r.jitter }

// lateness is how late it may start.
func (r *rules) lateness() time.Duration {
	if r.missed == Skip {
		return r.patience()
	}
	return max(r.patience(), r.late)
}

// delay is by how much a tick is put off: as much in every process.
func (r *rules) delay(job string, tick time.Time) time.Duration {
	if r.jitter == 0 {
		return 0
	}
	h := fnv.New64a()
	fmt.Fprint(h, job, " ", tick.Unix())
	return time.Duration(h.Sum64() % uint64(r.jitter))
}

// newestOf is the moment after which only as many ticks come, up to now, as may be made good; not before from.
func (r *rules) newestOf(from, now time.Time) time.Time {
	for window := time.Minute; r.most > 0; window *= 8 {
		after := latest(from, now.Add(-window))
		var ticks []time.Time
		for t := upTo(now, r.schedule.Next(after)); !t.IsZero(); t = upTo(now, r.schedule.Next(t)) {
			ticks = append(ticks, t)
		}
		if n := len(ticks); n > r.most {
			return ticks[n-r.most].Add(-1)
		}
		if !after.After(from) {
			break
		}
	}
	return from
}

// missedNow returns the newest tick after last that nobody may start any more, if nothing is due: that is to be told now, unless
// a tick comes soon, with which it is told.
func (r *rules) missedNow(last, now time.Time) (tick time.Time, ok bool) {
	if last.IsZero() || r.until(r.schedule.Next(last)).After(now) || r.schedule.Next(now).Sub(now) < 2*patience {
		return tick, false
	}
	tick = newest(r.schedule, last, now.Add(-r.lateness()-1))
	return tick, !tick.IsZero()
}

// maxCounted bounds the count of missed ticks.
const maxCounted = 10_000

// between counts the ticks after last and before tick.
func (r *rules) between(last, tick time.Time) (n int) {
	if every, ok := r.schedule.(aligned); ok {
		return int(min(max((tick.Unix()-every.Next(last).Unix())/int64(every), 0), maxCounted))
	}
	for next := r.schedule.Next(last); !next.IsZero() && next.Before(tick) && n < maxCounted; n++ {
		next = r.schedule.Next(next)
	}
	return n
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
