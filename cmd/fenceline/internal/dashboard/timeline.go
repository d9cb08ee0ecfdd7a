package dashboard

import (
	"slices"
	"time"

	"github.com/fenceline/fenceline/inspect"
)

// timeline is a line's history as bars: each hold in a lane, so that those that overlap lie below each other.
type timeline struct {
	From, To time.Time
	Lanes    int
	Bars     []bar
	Gaps     []bar // when nobody held, of a line that one holds at a time
	Untimed  int   // holds of less than a second, of which nobody has noted times
}

// bar spans so many thousandths of the time.
type bar struct {
	X, Width float64
	Lane     int
	Text     string
	End      string // "died", "broken"; else empty
	Running  bool
}

const (
	mostBars = 200
	wide     = 1000
)

// drawTimeline is of the last holds.
func drawTimeline(held []inspect.Held, kind string, now time.Time) timeline {
	t := timeline{To: now}
	var timed []inspect.Held
	for _, h := range held[max(len(held)-mostBars, 0):] {
		if h.EnteredAt.IsZero() || h.Left != 0 && h.LeftAt.IsZero() {
			t.Untimed++
			continue
		}
		timed = append(timed, h)
	}
	if len(timed) == 0 {
		return t
	}
	t.From = timed[0].EnteredAt
	for _, h := range timed {
		if h.EnteredAt.Before(t.From) {
			t.From = h.EnteredAt
		}
	}
	span := max(t.To.Sub(t.From), time.Second)
	at := func(when time.Time) float64 {
		return min(max(float64(when.Sub(t.From))/float64(span)*wide, 0), wide)
	}
	var free []time.Time // when each lane is
	var before time.Time
	for _, h := range timed {
		left := h.LeftAt
		if h.Left == 0 {
			left = now
		}
		lane := 0
		for lane < len(free) && free[lane].After(h.EnteredAt) {
			lane++
		}
		if lane == len(free) {
			free = append(free, time.Time{})
		}
		free[lane] = left
		b := bar{X: at(h.EnteredAt), Lane: lane, Text: h.Who + ", " + left.Sub(h.EnteredAt).Round(time.Millisecond).String(), Running: h.Left == 0}
		b.Width = max(at(left)-b.X, 1)
		if h.End == inspect.EndDied || h.End == inspect.EndBroken {
			b.End = h.End
		}
		t.Bars = append(t.Bars, b)
		if alone(kind) && t.Untimed == 0 && !before.IsZero() && h.EnteredAt.Sub(before) > span/500 {
			t.Gaps = append(t.Gaps, bar{X: at(before), Width: at(h.EnteredAt) - at(before), Text: "nobody held, for " + h.EnteredAt.Sub(before).Round(time.Millisecond).String()})
		}
		if left.After(before) {
			before = left
		}
	}
	t.Lanes = len(free)
	return t
}

// inferred takes what one hold tells of its neighbours, in a line that one holds at a time: who has entered after another, did so when that
// one left; and if he stood there already, the other left when he entered.
func inferred(held []inspect.Held) []inspect.Held {
	held = slices.Clone(held)
	for i := 1; i < len(held); i++ {
		before, h := &held[i-1], &held[i]
		switch {
		case before.Left == 0 || h.Joined > before.Left: // it was free in between
		case h.EnteredAt.IsZero():
			h.EnteredAt = before.LeftAt
		case before.LeftAt.IsZero():
			before.LeftAt = h.EnteredAt
		}
	}
	return held
}

func alone(kind string) bool { return kind == inspect.Lock || kind == inspect.Election }
