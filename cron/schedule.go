package cron

import (
	"errors"
	"fmt"
	"strings"
	"time"

	spec "github.com/robfig/cron/v3"
)

// schedule answers the first tick after t, or the zero time if there is none within five years.
type schedule interface{ Next(t time.Time) time.Time }

// parse reads what Add accepts.
func parse(text string, loc *time.Location) (schedule, error) {
	if loc == nil {
		return nil, errors.New("In(nil): want a location")
	}
	if every, ok := strings.CutPrefix(text, "@every "); ok {
		d, err := time.ParseDuration(every)
		if err != nil {
			return nil, fmt.Errorf("schedule %q: %w", text, err)
		}
		if d < time.Second || d%time.Second != 0 {
			return nil, fmt.Errorf("schedule %q: want at least one second, and whole seconds", text)
		}
		return aligned(d / time.Second), nil
	}
	if strings.HasPrefix(text, "TZ=") || strings.HasPrefix(text, "CRON_TZ=") {
		return nil, fmt.Errorf("schedule %q: the time zone is an option: In", text)
	}
	parsed, err := spec.ParseStandard(text)
	if err != nil {
		return nil, fmt.Errorf("schedule %q: %w", text, err)
	}
	fields, ok := parsed.(*spec.SpecSchedule)
	if !ok {
		return nil, fmt.Errorf("schedule %q: want five fields or a descriptor such as @hourly or @every 90s", text)
	}
	const allHours = 1<<24 - 1
	if fields.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, fmt.Errorf("schedule %q: that day never comes", text)
	}
	if fields.Hour&allHours == allHours {
		return elapsed{fields, loc}, nil
	}
	return wall{fields, loc}, nil
}

// aligned has a tick at every multiple of so many seconds since 1970, in all processes alike: ticks counted from the
// start of a process would be others in each.
type aligned int64

func (every aligned) Next(t time.Time) time.Time {
	n := t.Unix()
	n -= (n%int64(every) + int64(every)) % int64(every)
	return time.Unix(n+int64(every), 0).UTC()
}

// elapsed is a schedule that has ticks in each hour of the day: when clocks are changed it goes on as time does.
type elapsed struct {
	fields *spec.SpecSchedule
	loc    *time.Location
}

func (s elapsed) Next(t time.Time) time.Time { return s.fields.Next(t.In(s.loc)).UTC() }

// wall is a schedule with ticks at certain hours. Ticks are found on a clock that is never changed, and then looked up
// in the zone.
type wall struct {
	fields *spec.SpecSchedule
	loc    *time.Location
}

func (s wall) Next(t time.Time) time.Time {
	// Not t itself: in the second pass of a repeated hour, or after a skipped one, ticks of the same moment on the
	// wall may lie before t or at it.
	w := onTheWall(t.In(s.loc))
	for {
		w = s.fields.Next(w)
		if w.IsZero() {
			return w
		}
		if tick := s.moment(w); tick.After(t) {
			return tick.UTC()
		}
	}
}

// onTheWall is what a clock shows, as a time in a zone without changes.
func onTheWall(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// moment is when the clock on the wall shows w: the first time if it does so twice; if never, because the clock was
// put forward past w, then that change.
func (s wall) moment(w time.Time) time.Time {
	at := func(near time.Time) time.Time {
		_, offset := near.In(s.loc).Zone()
		return w.Add(-time.Duration(offset) * time.Second).In(s.loc)
	}
	before, after := at(w.AddDate(0, 0, -1)), at(w.AddDate(0, 0, 1))
	switch {
	case onTheWall(before).Equal(w):
		return before
	case onTheWall(after).Equal(w):
		return after
	}
	change, _ := before.ZoneBounds() // with the old offset, w lies after it
	return change
}
