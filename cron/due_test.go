package cron

import (
	"testing"
	"time"
)

func TestDueTick(t *testing.T) {
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		missed           Missed
		late             time.Duration
		last, since, now string
		anew             bool
		want             string // of @every 1m; empty: none
	}{
		"nothing yet":                          {Skip, 0, "2026-01-01T12:00:00Z", "2026-01-01T10:00:00Z", "2026-01-01T12:00:59.9Z", false, ""},
		"at its time":                          {Skip, 0, "2026-01-01T12:00:00Z", "2026-01-01T10:00:00Z", "2026-01-01T12:01:00Z", false, "2026-01-01T12:01:00Z"},
		"a little late":                        {Skip, 0, "2026-01-01T12:00:00Z", "2026-01-01T10:00:00Z", "2026-01-01T12:01:05Z", false, "2026-01-01T12:01:00Z"},
		"too late":                             {Skip, 0, "2026-01-01T12:00:00Z", "2026-01-01T10:00:00Z", "2026-01-01T12:01:05.1Z", false, ""},
		"done":                                 {Skip, 0, "2026-01-01T12:01:00Z", "2026-01-01T10:00:00Z", "2026-01-01T12:01:01Z", false, ""},
		"done, and the clock here is slow":     {RunAll, day, "2026-01-01T12:01:00Z", "2026-01-01T10:00:00Z", "2026-01-01T12:00:30Z", false, ""},
		"others passed over":                   {Skip, 0, "2026-01-01T10:00:00Z", "2026-01-01T10:00:00Z", "2026-01-01T12:01:00Z", false, "2026-01-01T12:01:00Z"},
		"nobody was here":                      {Skip, 0, "2026-01-01T10:00:00Z", "2026-01-01T12:01:00.1Z", "2026-01-01T12:01:01Z", false, ""},
		"here since the very moment":           {Skip, 0, "2026-01-01T10:00:00Z", "2026-01-01T12:01:00Z", "2026-01-01T12:01:01Z", false, "2026-01-01T12:01:00Z"},
		"once: the newest":                     {RunOnce, day, "2026-01-01T10:00:00Z", "2026-01-01T12:00:30Z", "2026-01-01T12:00:40Z", false, "2026-01-01T12:00:00Z"},
		"once: not too late":                   {RunOnce, 30 * time.Second, "2026-01-01T10:00:00Z", "2026-01-01T12:00:30Z", "2026-01-01T12:00:40Z", false, ""},
		"once: just not too late":              {RunOnce, 40 * time.Second, "2026-01-01T10:00:00Z", "2026-01-01T12:00:30Z", "2026-01-01T12:00:40Z", false, "2026-01-01T12:00:00Z"},
		"once: in time though no late allowed": {RunOnce, time.Second, "2026-01-01T10:00:00Z", "2026-01-01T11:00:00Z", "2026-01-01T12:00:04Z", false, "2026-01-01T12:00:00Z"},
		"all: the oldest":                      {RunAll, day, "2026-01-01T10:00:00Z", "2026-01-01T12:00:30Z", "2026-01-01T12:00:40Z", false, "2026-01-01T10:01:00Z"},
		"all: not too late":                    {RunAll, time.Hour, "2026-01-01T10:00:00Z", "2026-01-01T12:00:30Z", "2026-01-01T12:00:40Z", false, "2026-01-01T11:01:00Z"},
		"all: in time though no late allowed":  {RunAll, time.Second, "2026-01-01T10:00:00Z", "2026-01-01T11:00:00Z", "2026-01-01T12:00:04Z", false, "2026-01-01T12:00:00Z"},
		"new: nothing missed":                  {RunAll, day, "0001-01-01T00:00:00Z", "2026-01-01T12:00:30Z", "2026-01-01T12:00:40Z", true, ""},
		"new: its first":                       {RunAll, day, "0001-01-01T00:00:00Z", "2026-01-01T10:00:30Z", "2026-01-01T12:00:01Z", true, "2026-01-01T12:00:00Z"},
	} {
		r := rules{schedule: mustParse(t, "@every 1m", "UTC"), missed: c.missed, late: c.late}
		got, ok := r.due(at(c.last), at(c.since), at(c.now), c.anew)
		if ok != (c.want != "") || ok && !got.Equal(at(c.want)) {
			t.Errorf("%s: %v %v, want %q", name, got, ok, c.want)
		}
	}
}

// A fleet that was down for a year does not count thirty million seconds.
func TestNewestIsFoundWithoutCountingAll(t *testing.T) {
	for _, text := range []string{"@every 1s", "* * * * *", "0 0 1 1 *"} {
		s := &counted{schedule: mustParse(t, text, "UTC")}
		now := at("2026-01-01T00:00:00.5Z")
		if got := newest(s, now.AddDate(-30, 0, 0), now); !got.Equal(at("2026-01-01T00:00:00Z")) {
			t.Errorf("%s: %v", text, got)
		}
		if s.asked > 100 {
			t.Errorf("%s: asked %d times", text, s.asked)
		}
	}
}

type counted struct {
	schedule
	asked int
}

func (s *counted) Next(t time.Time) time.Time {
	s.asked++
	return s.schedule.Next(t)
}
