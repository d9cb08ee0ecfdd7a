package cron

import (
	"testing"
	"time"
)

const me = "me-"

// situation is a job of @every 1m at 12:05:01, whose last tick is that of 12:04.
func situation(change func(*rules, *state, *here)) (*rules, *state, here) {
	r := &rules{text: "@every 1m", zone: "UTC", schedule: aligned(60), retries: 2}
	s := &state{revision: 9, modified: 9, claims: map[int]claim{}, record: record{
		Schedule: "@every 1m", Zone: "UTC", Last: at("2026-01-01T12:04:00Z")}}
	h := here{now: at("2026-01-01T12:05:01Z"), since: at("2026-01-01T12:00:00Z"), mine: me, after: map[attempt]time.Time{}}
	if change != nil {
		change(r, s, &h)
	}
	return r, s, h
}

func opened(s *state, o open, stands bool) {
	if o.Scheduled.IsZero() {
		o.Scheduled = at("2026-01-01T12:04:00Z")
	}
	s.record.Open = append(s.record.Open, o)
	if stands {
		s.claims[o.Slot] = claim{id: o.Claim, create: 9, modify: 9}
	}
}

func TestNextStep(t *testing.T) {
	due := step{do: start, tick: open{Scheduled: at("2026-01-01T12:05:00Z"), Attempt: 1, Retries: 2}}
	idle := step{at: at("2026-01-01T12:06:00Z")}
	nothing := step{}
	elsewhere := open{Claim: "other-1", Attempt: 1}
	for name, c := range map[string]struct {
		change func(*rules, *state, *here)
		want   step
	}{
		"a tick is due": {nil, due},
		"done":          {func(_ *rules, s *state, _ *here) { s.record.Last = at("2026-01-01T12:05:00Z") }, idle},
		"done ahead of our clock": {func(_ *rules, s *state, _ *here) { s.record.Last = at("2026-01-01T12:07:00Z") },
			step{at: at("2026-01-01T12:08:00Z")}},
		"to be ended":          {func(_ *rules, _ *state, h *here) { h.last = true }, nothing},
		"cannot be read":       {func(_ *rules, s *state, _ *here) { s.broken = errUnseen }, nothing},
		"runs elsewhere":       {func(_ *rules, s *state, _ *here) { opened(s, elsewhere, true) }, nothing},
		"runs elsewhere, over": {func(r *rules, s *state, _ *here) { r.overlap = true; opened(s, elsewhere, true) }, due},
		"a claim nobody knows": {func(_ *rules, s *state, _ *here) { s.claims[0] = claim{id: "?"} }, nothing},
		"its runner is gone": {func(_ *rules, s *state, _ *here) { opened(s, elsewhere, false) },
			step{do: bury, tick: open{Claim: "other-1", Attempt: 1}}},
		"its claim is somebody's": {func(_ *rules, s *state, _ *here) { opened(s, elsewhere, false); s.claims[0] = claim{id: "?"} },
			step{do: bury, tick: open{Claim: "other-1", Attempt: 1}}},
		"runs here": {func(_ *rules, s *state, h *here) {
			opened(s, open{Claim: "me-1", Attempt: 1}, true)
			h.running = map[string]bool{"me-1": true}
		}, nothing},
		"still runs here, its claim lost": {func(_ *rules, s *state, h *here) {
			h.running = map[string]bool{"me-1": true}
		}, nothing},
		"ours, and we do not know of it": {func(_ *rules, s *state, _ *here) { opened(s, open{Claim: "me-1", Attempt: 1}, true) },
			step{do: adopt, tick: open{Claim: "me-1", Attempt: 1}}},
		"ours, and was run": {func(_ *rules, s *state, h *here) {
			opened(s, open{Claim: "me-1", Attempt: 1}, true)
			h.spent = map[string]bool{"me-1": true}
		}, nothing},
		"waits for another attempt": {func(_ *rules, s *state, _ *here) { opened(s, open{Attempt: 2}, false) },
			step{do: start, tick: open{Attempt: 2}}},
		"waits, and not long enough": {func(_ *rules, s *state, h *here) {
			opened(s, open{Attempt: 2}, false)
			h.after[attemptOf(s.record.Open[0])] = at("2026-01-01T12:05:02Z")
		}, step{at: at("2026-01-01T12:05:02Z")}},
		"waits, and not long enough, with overlap": {func(r *rules, s *state, h *here) {
			r.overlap = true
			opened(s, open{Attempt: 2}, false)
			h.after[attemptOf(s.record.Open[0])] = at("2026-01-01T12:05:02Z")
		}, due},
		"two wait": {func(r *rules, s *state, h *here) {
			r.overlap = true
			opened(s, open{Attempt: 2}, false)
			opened(s, open{Attempt: 3, Scheduled: at("2026-01-01T12:03:00Z")}, false)
		}, step{do: start, tick: open{Attempt: 3, Scheduled: at("2026-01-01T12:03:00Z")}}},
		"too many run": {func(r *rules, s *state, _ *here) {
			r.overlap = true
			for i := range maxOpen {
				opened(s, open{Claim: "other-1", Attempt: 1, Slot: i}, true)
			}
		}, nothing},
		"another schedule before, nothing missed": {func(r *rules, s *state, h *here) {
			r.missed, r.late = RunAll, time.Hour
			s.record.Schedule, s.record.Last = "@every 10m", at("2026-01-01T12:00:00Z")
			h.since = at("2026-01-01T12:05:01Z")
		}, idle},
		"another zone before, nothing missed": {func(r *rules, s *state, h *here) {
			r.missed, r.late = RunAll, time.Hour
			s.record.Zone, s.record.Last = "Asia/Tokyo", at("2026-01-01T12:00:00Z")
			h.since = at("2026-01-01T12:05:01Z")
		}, idle},
		"missed": {func(r *rules, s *state, h *here) {
			r.missed, r.late = RunAll, time.Hour
			s.record.Last = at("2026-01-01T12:00:00Z")
			h.since = at("2026-01-01T12:05:01Z")
		}, step{do: start, tick: open{Scheduled: at("2026-01-01T12:01:00Z"), Attempt: 1, Retries: 2}}},
		"no record, nothing missed": {func(r *rules, s *state, h *here) {
			r.missed, r.late = RunAll, time.Hour
			s.modified, s.record = 0, record{}
			h.since = at("2026-01-01T12:05:01Z")
		}, idle},
	} {
		r, s, h := situation(c.change)
		got := r.next(s, h)
		if (got.do == bury || got.do == adopt || got.tick.Attempt > 1) && c.want.tick.Scheduled.IsZero() {
			c.want.tick.Scheduled = at("2026-01-01T12:04:00Z")
		}
		if got != c.want {
			t.Errorf("%s: %+v\nwant %+v", name, got, c.want)
		}
	}
}

func TestAttemptsFollowUntilRetriesAreUsedUp(t *testing.T) {
	o := open{Scheduled: at("2026-01-01T12:00:00Z"), Attempt: 1, Retries: 2, Claim: "a-1"}
	r := record{}.started(o)
	for number := 2; number <= 3; number++ {
		r = r.ended(o, Run{Err: "failed"}, false)
		if len(r.Open) != 1 || r.Open[0].Attempt != number || r.Open[0].Claim != "" {
			t.Fatalf("after attempt %d: %+v", o.Attempt, r.Open)
		}
		o = r.Open[0]
		o.Claim = "a-" + o.Scheduled.String()
		r = r.started(o)
	}
	r = r.ended(o, Run{Err: "failed"}, false)
	if len(r.Open) != 0 || r.Runs != 3 || r.Latest.Err != "failed" {
		t.Fatalf("%+v", r)
	}
}

func TestSuccessIsNotRetried(t *testing.T) {
	o := open{Scheduled: at("2026-01-01T12:00:00Z"), Attempt: 1, Retries: 2, Claim: "a-1"}
	if r := (record{}).started(o).ended(o, Run{}, false); len(r.Open) != 0 {
		t.Fatalf("%+v", r)
	}
}

func TestWaitsBetweenAttemptsDoubleUpToAMinute(t *testing.T) {
	for number, want := range map[int]time.Duration{2: 500 * time.Millisecond, 3: time.Second, 8: 32 * time.Second, 9: time.Minute, 1000: time.Minute} {
		if got := backoff(open{Attempt: number, Failed: "x"}); got != want {
			t.Errorf("before attempt %d: %v", number, got)
		}
	}
	if got := backoff(open{Attempt: 5}); got != 0 {
		t.Errorf("after a runner that is gone: %v", got)
	}
}

// Three processes, their clocks half a minute apart, over the days when clocks are changed.
func TestDailyJobRunsOncePerDayWhateverTheClocks(t *testing.T) {
	for _, first := range []string{"2026-03-26T23:00:00Z", "2026-10-22T22:00:00Z"} {
		r := &rules{text: "30 2 * * *", zone: "Europe/Berlin", schedule: mustParse(t, "30 2 * * *", "Europe/Berlin")}
		s := &state{claims: map[int]claim{}}
		days := map[string]int{}
		from := at(first)
		for now := from; now.Before(from.AddDate(0, 0, 5)); now = now.Add(15 * time.Second) {
			for _, skew := range []time.Duration{-30 * time.Second, 0, 30 * time.Second} {
				next := r.next(s, here{now: now.Add(skew), since: from.Add(-time.Hour), mine: me})
				if next.do != start {
					continue
				}
				days[next.tick.Scheduled.In(r.schedule.(wall).loc).Format(time.DateOnly)]++
				next.tick.Claim = "x"
				s.record = s.record.started(next.tick).ended(next.tick, Run{}, false)
				s.record.Schedule, s.record.Zone, s.modified = r.text, r.zone, 1
			}
		}
		if len(days) != 5 {
			t.Errorf("from %s: %v", first, days)
		}
		for day, n := range days {
			if n != 1 {
				t.Errorf("%s: %d times", day, n)
			}
		}
	}
}
