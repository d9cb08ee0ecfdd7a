package cron

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	spec "github.com/robfig/cron/v3"
)

// schedule returns the first tick after t, or the zero time if there is none within five years.
type schedule interface{ Next(t time.Time) time.Time }

// CheckSchedule says why Add would not take a schedule; nil: it would. It does no I/O.
func CheckSchedule(text string) error {
	_, err := parse(strings.Join(strings.Fields(text), " "), time.UTC)
	return err
}

// parse reads what Add accepts.
func parse(text string, loc *time.Location) (schedule, error) {
	if loc == nil {
		return nil, errors.New("WithLocation(nil): want a location")
	}
	s, err := parseIn(text, loc)
	if err != nil {
		return nil, fmt.Errorf("schedule %q: %w", text, err)
	}
	return s, nil
}

func parseIn(text string, loc *time.Location) (schedule, error) {
	every, isEvery := strings.CutPrefix(text, "@every ")
	switch {
	case text == "":
		return nil, errors.New("it is empty")
	case isEvery:
		d, err := time.ParseDuration(every)
		if err != nil || d < time.Second || d%time.Second != 0 {
			return nil, errors.New("@every wants a duration of at least one second, in whole seconds, such as 90s or 1h30m")
		}
		return aligned(d / time.Second), nil
	case strings.HasPrefix(text, "TZ="), strings.HasPrefix(text, "CRON_TZ="):
		return nil, errors.New("the time zone is an option: In (--timezone)")
	}
	fields, err := parseFields(text)
	if err != nil {
		return nil, fmt.Errorf("it is neither five fields nor a descriptor such as @hourly or @every 90s: %w", err)
	}
	if fields.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, errors.New("that day never comes")
	}
	const allHours = 1<<24 - 1
	if fields.Hour&allHours == allHours {
		return elapsed{fields, loc}, nil
	}
	return wall{fields, loc}, nil
}

// star is how the parser marks a field that does not restrict the day.
const star = 1 << 63

// parseFields reads five fields as crontab(5) does, or a descriptor. The parser differs in two ways: a Sunday is 0 there, and
// not 7 as well; and a day field such as */2 is taken for a restriction, so that a day need fulfil only one of the two.
func parseFields(text string) (*spec.SpecSchedule, error) {
	words := strings.Fields(text)
	if len(words) == 5 {
		words[4] = sunday(words[4])
	}
	parsed, err := spec.ParseStandard(strings.Join(words, " "))
	if err != nil {
		return nil, err
	}
	fields, ok := parsed.(*spec.SpecSchedule)
	if !ok {
		return nil, errors.New("it is not known")
	}
	if len(words) == 5 && strings.HasPrefix(words[2], "*") {
		fields.Dom |= star
	}
	if len(words) == 5 && strings.HasPrefix(words[4], "*") {
		fields.Dow |= star
	}
	return fields, nil
}

// sunday writes the day of the week 7 as 0, also where it ends a range. What is no day is left to the parser.
func sunday(field string) string {
	parts := strings.Split(field, ",")
	for i, part := range parts {
		days, step, stepped := strings.Cut(part, "/")
		first, last, ranged := strings.Cut(days, "-")
		by := 1
		if stepped {
			by, _ = strconv.Atoi(step) // what is no number is 0, and the parser says so
		}
		from, err := strconv.Atoi(first)
		switch {
		case days == "7" && !stepped:
			parts[i] = "0"
		case days == "7-7":
			parts[i] = "0"
		case !ranged || last != "7" || err != nil || from < 0 || from > 6 || by < 1:
		default:
			var list []string
			for day := from; day <= 7; day += by {
				list = append(list, strconv.Itoa(day%7))
			}
			parts[i] = strings.Join(list, ",")
		}
	}
	return strings.Join(parts, ",")
}

// same says whether two texts, each of which parse has accepted or somebody has written into a record, mean the same ticks.
func same(a, b string) bool {
	if a == b {
		return true
	}
	s, err := parse(a, time.UTC)
	if err != nil {
		return false
	}
	t, err := parse(b, time.UTC)
	if err != nil {
		return false
	}
	if x, ok := s.(aligned); ok {
		y, ok := t.(aligned)
		return ok && x == y
	}
	x, y := fieldsOf(s), fieldsOf(t)
	return x != nil && y != nil && *x == *y
}

func fieldsOf(s schedule) *spec.SpecSchedule {
	switch s := s.(type) {
	case elapsed:
		return s.fields
	case wall:
		return s.fields
	}
	return nil
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

// Next looks between two changes of the zone at a time, on a clock that is never changed. Asked in the zone itself, the parser
// looks for a day at its midnight, and passes over a day that has none.
func (s elapsed) Next(t time.Time) time.Time {
	for since := t; ; {
		_, offset := since.In(s.loc).Zone()
		_, change := since.In(s.loc).ZoneBounds()
		next := s.fields.Next(t.In(time.FixedZone("", offset)))
		if next.IsZero() || change.IsZero() || next.Before(change) {
			return next.UTC()
		}
		since, t = change, change.Add(-1)
	}
}

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
