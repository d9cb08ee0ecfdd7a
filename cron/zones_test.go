package cron

import (
	"archive/zip"
	"fmt"
	"math/bits"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// zones are all that Go's own list has, but of those that change alike between the years only one.
func zones(t *testing.T, from, to time.Time) []*time.Location {
	t.Helper()
	list, err := zip.OpenReader(filepath.Join(runtime.GOROOT(), "lib", "time", "zoneinfo.zip"))
	if err != nil {
		t.Skip("no list of zones here: ", err)
	}
	defer list.Close()
	var all []*time.Location
	seen := map[string]bool{}
	for _, f := range list.File {
		loc, err := time.LoadLocation(f.Name)
		if err != nil || strings.HasSuffix(f.Name, "/") {
			continue
		}
		text := ""
		for _, c := range changes(loc, from, to) {
			_, offset := c.In(loc).Zone()
			text += fmt.Sprint(c.Unix(), offset, " ")
		}
		if text != "" && !seen[text] {
			seen[text] = true
			all = append(all, loc)
		}
	}
	return all
}

func changes(loc *time.Location, from, to time.Time) (all []time.Time) {
	for t := from; ; {
		_, end := t.In(loc).ZoneBounds()
		if end.IsZero() || end.After(to) {
			return all
		}
		all = append(all, end)
		t = end
	}
}

// crontab says what the fields say, on its own.
type crontab struct {
	minute, hour, dom, month, dow uint64
	either                        bool // of dom and dow, since both restrict
}

func (c crontab) matches(wall time.Time) bool {
	has := func(set uint64, n int) bool { return set>>n&1 == 1 }
	if !has(c.minute, wall.Minute()) || !has(c.hour, wall.Hour()) || !has(c.month, int(wall.Month())) {
		return false
	}
	dom, dow := has(c.dom, wall.Day()), has(c.dow, int(wall.Weekday()))
	if c.either {
		return dom || dow
	}
	return dom && dow
}

const every = ^uint64(0)

func set(ns ...int) (s uint64) {
	for _, n := range ns {
		s |= 1 << n
	}
	return s
}

// walk finds the ticks after from and up to to, minute by minute.
func (c crontab) walk(loc *time.Location, from, to time.Time) (ticks []time.Time) {
	shown := onTheWall(from.In(loc)) // the latest that the clock on the wall has shown
	eachHour := bits.OnesCount64(c.hour&(1<<24-1)) == 24
	for t := from.Add(time.Minute); !t.After(to); t = t.Add(time.Minute) {
		wall := onTheWall(t.In(loc))
		tick := eachHour && c.matches(wall)
		for w := shown.Add(time.Minute); !eachHour && !w.After(wall); w = w.Add(time.Minute) {
			tick = tick || c.matches(w)
		}
		if tick {
			ticks = append(ticks, t)
		}
		shown = latest(shown, wall)
	}
	return ticks
}

func TestTicksAroundEachChangeOfEachZoneAreThoseOfAWalk(t *testing.T) {
	from, to := at("2025-06-01T00:00:00Z"), at("2028-01-01T00:00:00Z")
	tabs := map[string]crontab{
		"*/20 * * * *":     {set(0, 20, 40), every, every, every, every, false},
		"0 * * * 5":        {set(0), every, every, every, set(5), false},
		"0 * * * 7":        {set(0), every, every, every, set(0), false},
		"30 * 28-31 3,4 *": {set(30), every, set(28, 29, 30, 31), set(3, 4), every, false},
		"0 0 * * *":        {set(0), set(0), every, every, every, false},
		"30 2 * * 5-7":     {set(30), set(2), every, every, set(5, 6, 0), false},
		"0,30 1,2,3 * * *": {set(0, 30), set(1, 2, 3), every, every, every, false},
		"15 0 1-15 * 6":    {set(15), set(0), set(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), every, set(6), true},
		"0 1 */2 * 0":      {set(0), set(1), 0xaaaaaaaa, every, set(0), false},
	}
	checked := 0
	for _, loc := range zones(t, from, to) {
		for _, change := range changes(loc, from, to) {
			first, last := change.Add(-30*time.Hour), change.Add(30*time.Hour)
			for text, tab := range tabs {
				s, err := parse(text, loc)
				if err != nil {
					t.Fatal(err)
				}
				want := tab.walk(loc, first, last)
				next := first
				for i := 0; ; i++ {
					next = s.Next(next)
					if next.After(last) && i == len(want) {
						break
					}
					checked++
					if i >= len(want) || !next.Equal(want[i]) {
						t.Fatalf("%s in %v: tick %d after %v is %v, want %v", text, loc, i, first, next, append(want, time.Time{})[min(i, len(want))])
					}
				}
			}
		}
	}
	if checked < 10_000 {
		t.Errorf("only %d ticks were compared", checked)
	}
	t.Log(checked, "ticks")
}

func TestDayFieldsAreAsInCrontab(t *testing.T) {
	for text, want := range map[string]string{
		"0 3 * * 7":        "0 3 * * 0",
		"0 3 * * 5-7":      "0 3 * * 5,6,0",
		"0 3 * * 1-7/2":    "0 3 * * 1,3,5,0",
		"0 3 * * 0-7":      "0 3 * * 0-6",
		"0 3 * * 7,1":      "0 3 * * 0,1",
		"0 3 * * sun":      "0 3 * * 0",
		"@daily":           "0 0 * * *",
		"00 05 * * MON":    "0 5 * * 1",
		"*/30 * * * *":     "0,30 * * * *",
		"@every 60s":       "@every 1m",
		"0 0 1 1 *":        "@yearly",
		"  0   3 *  *  * ": "0 3 * * *",
	} {
		if !same(text, want) {
			t.Errorf("%q is not %q", text, want)
		}
	}
	for text, other := range map[string]string{
		"0 3 * * 1":  "0 3 * * 2",
		"@every 60s": "* * * * *",
		"@every 2m":  "@every 1m",
		"0 3 1 * 1":  "0 3 1 * *",
		"garbage":    "0 3 1 * *",
		"":           "0 3 1 * *",
	} {
		if same(text, other) || same(other, text) {
			t.Errorf("%q is %q", text, other)
		}
	}
	for _, text := range []string{"0 3 * * 8", "0 3 * * 7-1", "0 3 * * 1-8", "0 3 * * -7", "0 3 * * 7-", "0 3 * * 1-7/0", "0 3 * * 1-7/x"} {
		if s, err := parse(text, time.UTC); err == nil {
			t.Errorf("%q was accepted: %v", text, s)
		}
	}
}
