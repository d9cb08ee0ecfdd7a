package bench

import "sync/atomic"

// Succession is how turns follow each other: short-term fairness, which an even share over the whole run can hide.
type Succession struct {
	Window   int     `json:"window"`              // turns: as many as there are contenders
	Distinct float64 `json:"distinct_contenders"` // that had one of so many successive turns, on average
	Again    Turns   `json:"turns_until_again"`   // from one turn of a contender to its next one; Window, if all go in a circle
}

// Share is Distinct as a share of what it could be: 1 when everybody has one turn before anybody has two.
func (s Succession) Share() float64 { return s.Distinct / float64(s.Window) }

// Turns is the summary of a histogram of numbers of turns.
type Turns struct {
	Count int64 `json:"count"`
	P50   int64 `json:"p50"`
	P99   int64 `json:"p99"`
	Max   int64 `json:"max"`
}

func (l *latencies) turns() Turns {
	s := l.summary()
	return Turns{Count: s.Count, P50: int64(s.P50), P99: int64(s.P99), Max: int64(s.Max)}
}

// succession numbers the counted turns of a trial. Who is inside says so; for turns that are inside together the order is
// that in which they do.
type succession struct {
	turns      atomic.Int64
	_          [56]byte // is written by everybody, and what follows is not
	contenders []follower
}

// follower is what is known of one contender, whose goroutines share it.
type follower struct {
	last   atomic.Int64 // its last turn, from 1
	window atomic.Int64 // that this was in, from 1
	_      [48]byte
}

func newSuccession(contenders int) *succession {
	return &succession{contenders: make([]follower, contenders)}
}

// take is called by a contender in its turn. since is how many turns after its last one that is, 0 for the first;
// fresh says that it is its first in this window.
func (s *succession) take(contender int) (since int64, fresh bool) {
	c := &s.contenders[contender]
	turn := s.turns.Add(1)
	window := (turn-1)/int64(len(s.contenders)) + 1
	if last := c.last.Swap(turn); last > 0 {
		since = max(turn-last, 0) // below 0: another goroutine of it took the next number first
	}
	return since, c.window.Swap(window) != window
}

// followed is a worker's part of it.
type followed struct {
	turns, fresh int64
	again        *latencies // not times, but turns
}

func newFollowed() followed { return followed{again: newCounts()} }

func (f *followed) add(since int64, fresh bool) {
	f.turns++
	if fresh {
		f.fresh++
	}
	if since > 0 {
		f.again.record(since)
	}
}

func (f *followed) merge(o followed) {
	f.turns += o.turns
	f.fresh += o.fresh
	f.again.merge(o.again)
}

// summary is nil where there is nobody to follow.
func (f *followed) summary(contenders int) *Succession {
	if contenders < 2 || f.turns == 0 {
		return nil
	}
	return &Succession{Window: contenders, Distinct: float64(f.fresh) / float64(f.turns) * float64(contenders), Again: f.again.turns()}
}
