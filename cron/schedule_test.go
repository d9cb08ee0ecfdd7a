package cron

import (
	"strings"
	"testing"
	"time"
)

func mustParse(t testing.TB, text, zone string) schedule {
	t.Helper()
	loc, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	s, err := parse(text, loc)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t
}

func TestNextTick(t *testing.T) {
	for name, c := range map[string]struct {
		schedule, zone, after string
		want                  []string
	}{
		"fields":                        {"30 2 * * *", "UTC", "2026-01-01T02:30:00Z", []string{"2026-01-02T02:30:00Z", "2026-01-03T02:30:00Z"}},
		"zone":                          {"0 9 * * 1", "Asia/Tokyo", "2026-01-01T00:00:00Z", []string{"2026-01-05T00:00:00Z", "2026-01-12T00:00:00Z"}},
		"within a second":               {"* * * * *", "UTC", "2026-01-01T02:29:59.999999999Z", []string{"2026-01-01T02:30:00Z"}},
		"descriptor":                    {"@hourly", "UTC", "2026-01-01T02:30:00Z", []string{"2026-01-01T03:00:00Z"}},
		"every, from 1970":              {"@every 7s", "UTC", "1970-01-01T00:00:07Z", []string{"1970-01-01T00:00:14Z", "1970-01-01T00:00:21Z"}},
		"every, before 1970":            {"@every 7s", "UTC", "1969-12-31T23:59:50Z", []string{"1969-12-31T23:59:53Z", "1970-01-01T00:00:00Z"}},
		"every, from within":            {"@every 90s", "UTC", "2026-01-01T00:01:29.9Z", []string{"2026-01-01T00:01:30Z"}},
		"skipped hour: at the change":   {"30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"}},
		"skipped hour: once":            {"*/10 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"}},
		"skipped hour and the next":     {"0 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"}},
		"skipped midnight":              {"0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00:00Z", []string{"2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"}},
		"skipped midnight, day's end":   {"0 5 3 11 *", "America/Sao_Paulo", "2018-11-03T08:30:00Z", []string{"2019-11-03T08:00:00Z"}},
		"repeated hour: the first time": {"30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
		"repeated hour, from within":    {"45 2 * * *", "Europe/Berlin", "2026-10-25T01:30:00Z", []string{"2026-10-26T01:45:00Z"}},
		"each hour: as time goes":       {"30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"}},
		"each hour, one is skipped":     {"30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", []string{"2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"}},
		"half an hour skipped":          {"15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00Z", []string{"2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, next := mustParse(t, c.schedule, c.zone), at(c.after)
			for _, want := range c.want {
				if next = s.Next(next); !next.Equal(at(want)) {
					t.Fatalf("%s, want %s", next.Format(time.RFC3339), want)
				}
			}
		})
	}
}

// From wherever one asks, the answers are the same ticks: processes that ask at different moments agree.
func TestTicksDoNotDependOnTheMomentOfTheQuestion(t *testing.T) {
	for _, text := range []string{"*/20 1-3 * * *", "17 * * * *", "@every 11m", "0 0 * * *"} {
		s := mustParse(t, text, "Europe/Berlin")
		for _, day := range []string{"2026-03-28T22:00:00Z", "2026-10-24T22:00:00Z"} {
			want := s.Next(at(day))
			for now := at(day); now.Before(at(day).Add(8 * time.Hour)); now = now.Add(37 * time.Second) {
				for !want.After(now) {
					want = s.Next(want)
				}
				if got := s.Next(now); !got.Equal(want) {
					t.Fatalf("%s after %v: %v, want %v", text, now, got, want)
				}
			}
		}
	}
}

func TestBadScheduleIsToldWithTheRule(t *testing.T) {
	for text, rule := range map[string]string{
		"":                        "empty",
		"* * * *":                 "5 fields",
		"61 * * * *":              "61",
		"@never":                  "@never",
		"@every":                  "@every",
		"@every 1500ms":           "whole seconds",
		"@every 100ms":            "at least one second",
		"@every -1m":              "at least one second",
		"@every soon":             "soon",
		"0 0 31 2 *":              "never comes",
		"TZ=Europe/Berlin":        "In",
		"CRON_TZ=UTC * * * * *":   "In",
		"* * * * * and some more": "5 fields",
	} {
		_, err := parse(text, time.UTC)
		if err == nil || !strings.Contains(err.Error(), rule) || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v, want %q", text, err, rule)
		}
	}
}
