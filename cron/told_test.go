package cron

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

// ears hear what a session tells of its jobs.
type ears struct {
	mu      sync.Mutex
	log     bytes.Buffer
	missed  []int
	stalled []error
}

func (e *ears) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.log.Write(p)
}

func (e *ears) options() []session.Option {
	return []session.Option{session.WithLogger(slog.New(slog.NewTextHandler(e, nil))), session.WithTrace(&session.Trace{
		Missed: func(_, _ string, n int) {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.missed = append(e.missed, n)
		},
		Stalled: func(_, _ string, why error) {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.stalled = append(e.stalled, why)
		},
	})}
}

func (e *ears) heard() (log string, missed []int, stalled []error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.log.String(), append([]int{}, e.missed...), append([]error{}, e.stalled...)
}

// started is a job that ran at 12:01 and then nowhere.
func startedOnce(t *testing.T, c *clock, name, schedule string) {
	t.Helper()
	first, b := c.process(t, etcdtest.Shared(t).Client(t)), &book{}
	add(t, first, name, schedule, b.job(0, nil))
	stop := run(t, first)
	following(t, first)
	c.until(t, "the first tick", func() bool { return len(history(t, first, name)) == 1 })
	stop()
}

func TestMissedTicksAreToldOnceInLogHookAndHistory(t *testing.T) {
	t.Parallel()
	client, name, b := etcdtest.Shared(t).Client(t), etcdtest.Name(t), &book{}
	c := newClock("2026-01-01T12:00:59Z")
	startedOnce(t, c, name, "@every 1m")
	c.forward(at("2026-01-01T12:04:55Z").Sub(c.now()))
	var es []*ears
	var s *Scheduler
	for range 3 {
		e := &ears{}
		es = append(es, e)
		s = c.process(t, client, e.options()...)
		add(t, s, name, "@every 1m", b.job(1, nil))
		run(t, s)
		following(t, s)
	}
	c.until(t, "the next tick", func() bool { return b.len() == 1 && len(history(t, s, name)) == 3 })
	var missed []int
	lines := 0
	hear := func() bool {
		missed, lines = nil, 0
		for _, e := range es {
			log, m, _ := e.heard()
			missed = append(missed, m...)
			lines += strings.Count(log, "cron ticks were missed")
		}
		return len(missed) > 0 && lines > 0
	}
	etcdtest.Eventually(t, 10*time.Second, "that one is told", hear) // after it was recorded
	if hear(); fmt.Sprint(missed) != "[3]" || lines != 1 {
		t.Errorf("missed %v, %d lines", missed, lines)
	}
	h := history(t, s, name)
	if m := h[1]; m.Missed != 3 || !m.Scheduled.Equal(at("2026-01-01T12:04:00Z")) || h[0].Missed != 0 || h[2].Missed != 0 || h[2].Err != "" {
		t.Errorf("%+v", h)
	}
}

func TestTickThatNobodyRanIsToldLongBeforeTheNext(t *testing.T) {
	t.Parallel()
	client, name, e := etcdtest.Shared(t).Client(t), etcdtest.Name(t), &ears{}
	c := newClock("2026-01-01T23:59:59Z")
	startedOnce(t, c, name, "@daily")
	c.forward(at("2026-01-03T00:30:00Z").Sub(c.now()))
	s, b := c.process(t, client, e.options()...), &book{}
	add(t, s, name, "@daily", b.job(1, nil))
	run(t, s)
	following(t, s)
	c.until(t, "the news", func() bool { return len(history(t, s, name)) == 2 })
	if m := history(t, s, name)[1]; m.Missed != 1 || !m.Scheduled.Equal(at("2026-01-03T00:00:00Z")) || b.len() != 0 {
		t.Errorf("%+v, %d runs", m, b.len())
	}
	if c.now().After(at("2026-01-03T00:32:00Z")) {
		t.Errorf("at %v", c.now())
	}
	etcdtest.Eventually(t, 10*time.Second, "that the hook is told", func() bool { // after it was recorded
		_, missed, _ := e.heard()
		return fmt.Sprint(missed) == "[1]"
	})
	if s.jobs[name].rules.anew(&state{modified: 1, record: record{Schedule: "0 0 * * *", Zone: "UTC"}}) {
		t.Error("in other words it is another schedule")
	}
}

// An etcd that does not answer for longer than a tick may be late: the tick is missed, whenever its claim gets through.
func TestTickDoesNotStartLateHoweverLongItsClaimTakes(t *testing.T) {
	t.Parallel()
	for name, ttl := range map[string]time.Duration{"one attempt": time.Minute, "several": 10 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, job, e := etcdtest.Shared(t), etcdtest.Name(t), &ears{}
			p := etcdtest.NewProxy(t, m)
			s := process(t, p.Client(t), 0, append(e.options(), session.WithTTL(ttl))...)
			var mu sync.Mutex
			var late []time.Duration
			add(t, s, job, "@every 8s", func(_ context.Context, tick Tick) error {
				mu.Lock()
				defer mu.Unlock()
				late = append(late, time.Since(tick.Scheduled))
				return nil
			})
			run(t, s)
			starts := func() int {
				mu.Lock()
				defer mu.Unlock()
				return len(late)
			}
			eventually(t, "a tick", func() bool { return starts() == 1 })
			now := time.Now()
			time.Sleep(time.Unix(now.Unix()/8*8+8, 0).Sub(now) - 100*time.Millisecond)
			p.Blackhole()
			time.Sleep(patience + 1500*time.Millisecond)
			p.Heal()
			eventually(t, "another tick", func() bool { return starts() == 2 })
			mu.Lock()
			defer mu.Unlock()
			for _, d := range late {
				if d > patience {
					t.Errorf("late by %v", d)
				}
			}
			if _, missed, _ := e.heard(); fmt.Sprint(missed) != "[1]" {
				t.Errorf("missed %v", missed)
			}
			told := 0
			for _, r := range history(t, s, job) {
				if strings.HasPrefix(r.Err, "missed: ") {
					told++
				}
			}
			if told != 1 {
				t.Errorf("%+v", history(t, s, job))
			}
		})
	}
}

// A clock that is five minutes ahead joins a fleet whose clocks are right, and goes.
func TestFastClockLeavesTheTicksToThoseThatAreRight(t *testing.T) {
	t.Parallel()
	client, name, b, e := etcdtest.Shared(t).Client(t), etcdtest.Name(t), &book{}, &ears{}
	c := newClock("2026-01-01T12:00:30Z")
	right := c.process(t, client)
	add(t, right, name, "@every 1m", b.job(0, nil))
	run(t, right)
	following(t, right)
	until := func(end string) {
		for c.now().Before(at(end)) {
			step := 10 * time.Millisecond // as slow as etcd, where ticks come
			if second := c.now().Second(); second > 0 && second < 59 {
				step = 250 * time.Millisecond
			}
			c.forward(step)
			time.Sleep(4 * time.Millisecond)
		}
	}
	until("2026-01-01T12:01:30Z")
	fast := c.process(t, client, e.options()...)
	fast.now = func() time.Time { return c.now().Add(5 * time.Minute) }
	add(t, fast, name, "@every 1m", b.job(1, nil))
	stop := run(t, fast)
	following(t, fast)
	until("2026-01-01T12:03:30Z")
	stop()
	until("2026-01-01T12:06:30Z")
	mustBe(t, minutes(b), 1, 2, 3, 4, 5, 6)
	log, missed, stalled := e.heard()
	if len(missed) != 0 || len(stalled) == 0 || !strings.Contains(stalled[0].Error(), "ahead") || strings.Count(log, "cron job is not run here") != 1 {
		t.Errorf("missed %v, stalled %v, log %s", missed, stalled, log)
	}
}

func TestTickAheadOfTheClockIsTold(t *testing.T) {
	t.Parallel()
	client, name, e := etcdtest.Shared(t).Client(t), etcdtest.Name(t), &ears{}
	record := fmt.Sprintf(`{"schedule":"@every 1s","zone":"UTC","last":%q,"runs":0}`, time.Now().Add(48*time.Hour).UTC().Format(time.RFC3339))
	if _, err := client.Put(t.Context(), "fenceline/cron/"+name+"/record", record); err != nil {
		t.Fatal(err)
	}
	s, b := process(t, client, 0, e.options()...), &book{}
	add(t, s, name, "@every 1s", b.job(0, nil))
	run(t, s)
	eventually(t, "the news", func() bool { _, _, stalled := e.heard(); return len(stalled) == 1 })
	if _, err := client.Delete(t.Context(), "fenceline/cron/"+name+"/record"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a tick", func() bool { return b.len() > 0 })
	eventually(t, "a word of that", func() bool { _, _, stalled := e.heard(); return len(stalled) > 1 }) // hooks are told after it
	log, _, stalled := e.heard()
	if len(stalled) != 2 || stalled[1] != nil || strings.Count(log, "cron job is not run here") != 1 || !strings.Contains(log, "clock") {
		t.Errorf("%v, %s", stalled, log)
	}
}

func TestUnreadableRecordIsToldAndHidesNoOther(t *testing.T) {
	t.Parallel()
	m := etcdtest.Start(t)
	client, e, b := m.Client(t), &ears{}, &book{}
	for _, garbage := range []string{"not json", `{"last":"x"}`, `[]`, ""} {
		if _, err := client.Put(t.Context(), "fenceline/cron/bad/record", garbage); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Put(t.Context(), "fenceline/cron/good/run/19", garbage); err != nil {
			t.Fatal(err)
		}
	}
	s := process(t, client, 0, e.options()...)
	add(t, s, "bad", "@every 1s", b.job(0, nil))
	add(t, s, "good", "@every 1s", b.job(1, nil))
	run(t, s)
	eventually(t, "ticks of the other", func() bool { return b.len() >= 2 })
	log, _, stalled := e.heard()
	if len(stalled) != 1 || !strings.Contains(stalled[0].Error(), "delete it") || strings.Count(log, "cron job is not run here") != 1 {
		t.Errorf("%v, %s", stalled, log)
	}
	jobs, err := List(t.Context(), client)
	if err != nil || len(jobs) != 2 || jobs[0].Name != "bad" || jobs[0].Err == nil || jobs[1].Err != nil || jobs[1].Schedule != "@every 1s" {
		t.Errorf("%+v, %v", jobs, err)
	}
	h := history(t, s, "good")
	if len(h) < 2 || h[0].Err == "" || h[1].Err != "" {
		t.Errorf("%+v", h)
	}
}

func TestClaimThatOthersHaveMadeIsNotSent(t *testing.T) {
	t.Parallel()
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	sent := 0
	kv := client.KV
	client.KV = countedKV{kv, &sent}
	c := process(t, client, 0)
	add(t, c, name, far, nothing)
	j := c.jobs[name]
	for range cap(c.gate) {
		c.gate <- struct{}{}
	}
	before := sent
	done := make(chan struct{})
	go func() {
		defer close(done)
		j.claim(t.Context(), &state{}, open{Scheduled: time.Now(), Attempt: 1})
	}()
	j.mu.Lock()
	j.state = state{revision: 9, modified: 9, record: record{Claim: "other-1"}}
	j.mu.Unlock()
	c.gate.leave()
	<-done
	if sent != before {
		t.Errorf("%d transactions", sent-before)
	}
	for len(c.gate) > 0 {
		c.gate.leave()
	}
}

func TestClocksAreComparedForAWhile(t *testing.T) {
	c, now := clocks{}, at("2026-01-01T12:00:00Z")
	if c.ahead(now) != 0 {
		t.Error("ahead of nobody")
	}
	c.compare(now, now.Add(-5*time.Minute))
	if c.ahead(now) != 5*time.Minute || c.ahead(now.Add(11*time.Minute)) == 0 || c.ahead(now.Add(12*time.Minute)) != 0 {
		t.Error("not for a while")
	}
	c.compare(now, now.Add(-time.Second))
	if c.ahead(now) != 0 {
		t.Error("though another's claim says otherwise")
	}
	c.compare(now, now.Add(time.Hour))
	if c.ahead(now) != 0 {
		t.Error("though it is behind")
	}
}
