package cron

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

func nothing(context.Context, Tick) error { return nil }

func TestBadInputIsToldWithTheRuleAndCostsNoRequest(t *testing.T) {
	t.Parallel()
	p := etcdtest.NewProxy(t, etcdtest.Shared(t))
	c := process(t, p.Client(t), 0)
	p.Blackhole() // a request would wait
	defer p.Heal()
	add(t, c, "taken", far, nothing)
	for what, e := range map[string]struct {
		job, schedule string
		fn            func(context.Context, Tick) error
		opt           Option
		says          string
	}{
		"empty name":      {"", far, nothing, nil, "empty"},
		"long name":       {strings.Repeat("x", 600), far, nothing, nil, "600 bytes"},
		"control":         {"a\x00b", far, nothing, nil, "control"},
		"taken":           {"taken", far, nothing, nil, "added before"},
		"bad schedule":    {"a", "* * *", nothing, nil, "* * *"},
		"no function":     {"a", far, nil, nil, "function is nil"},
		"no zone":         {"a", far, nothing, WithLocation(nil), "WithLocation(nil)"},
		"negative retry":  {"a", far, nothing, WithRetries(-1), "WithRetries(-1)"},
		"negative late":   {"a", far, nothing, WithMissed(RunAll, -time.Second), "WithMissed(RunAll, -1s)"},
		"how late?":       {"a", far, nothing, WithMissed(RunOnce, 0), "WithMissed(RunOnce, 0)"},
		"unknown":         {"a", far, nothing, WithMissed(7, time.Second), "Missed(7)"},
		"negative, skip":  {"a", far, nothing, WithMissed(Skip, -time.Second), "WithMissed(Skip, -1s)"},
		"name of the job": {"my job", "nonsense", nothing, nil, `"my job"`},
	} {
		var opts []Option
		if e.opt != nil {
			opts = append(opts, e.opt)
		}
		err := c.Add(e.job, e.schedule, e.fn, opts...)
		if err == nil || !strings.Contains(err.Error(), e.says) || !strings.HasPrefix(err.Error(), "cron: ") {
			t.Errorf("%s: %v, want %q", what, err, e.says)
		}
		invalid := what == "empty name" || what == "long name" || what == "control"
		if errors.Is(err, session.ErrInvalidName) != invalid {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := c.History(t.Context(), ""); !errors.Is(err, session.ErrInvalidName) {
		t.Errorf("History: %v", err)
	}
	if _, err := List(t.Context(), nil); err == nil {
		t.Error("List without a client")
	}
	if _, err := List(t.Context(), c.keeper.Client, WithNamespace("")); err == nil || !strings.Contains(err.Error(), "namespace") {
		t.Errorf("List: %v", err)
	}
}

func TestRunWaitsForWhatRunsAndDoesNotEndIt(t *testing.T) {
	t.Parallel()
	name, b := etcdtest.Name(t), &book{}
	type key struct{}
	c := newClock("2026-01-01T11:59:59.99Z")
	s := c.process(t, etcdtest.Shared(t).Client(t))
	finish := make(chan struct{})
	add(t, s, name, far, b.job(0, func(ctx context.Context, _ Tick) error {
		<-finish
		if ctx.Err() != nil || ctx.Value(key{}) != "value" {
			t.Errorf("%v, %v", ctx.Err(), ctx.Value(key{}))
		}
		return nil
	}))
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	following(t, s)
	c.forward(10 * time.Millisecond)
	c.until(t, "a run", func() bool { return b.len() == 1 })
	cancel()
	c.forward(time.Hour) // the next is not started
	select {
	case err := <-done:
		t.Fatalf("Run did not wait: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	close(finish)
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if h := history(t, s, name); len(h) != 1 || h[0].Err != "" || b.len() != 1 {
		t.Errorf("%+v", h)
	}
}

func TestRunMayBeCalledAgainButNotTwice(t *testing.T) {
	t.Parallel()
	c := process(t, etcdtest.Shared(t).Client(t), 0)
	stop := run(t, c)
	eventually(t, "Run", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.start != nil })
	if err := c.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "runs already") {
		t.Errorf("second Run: %v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if err := run(t, c)(); err != nil {
		t.Errorf("Run after Run: %v", err)
	}
}

func TestJobAddedWhileRunningTakesPart(t *testing.T) {
	t.Parallel()
	name, b := etcdtest.Name(t), &book{}
	c := newClock("2026-01-01T11:59:59.99Z")
	s := c.process(t, etcdtest.Shared(t).Client(t))
	run(t, s)
	eventually(t, "Run", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.start != nil })
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	add(t, s, name, "0 13 * * *", b.job(0, nil), WithLocation(berlin))
	following(t, s)
	c.forward(10 * time.Millisecond)
	c.until(t, "a run", func() bool { return b.len() == 1 })
	if tick := b.all()[0]; tick.Scheduled.Hour() != 13 || tick.Scheduled.Location() != berlin {
		t.Errorf("%+v", tick)
	}
}

func TestClosedSessionEndsRunAndWhatRuns(t *testing.T) {
	t.Parallel()
	client, name, b := etcdtest.Shared(t).Client(t), etcdtest.Name(t), &book{}
	c := newClock("2026-01-01T11:59:59.99Z")
	s, err := session.Open(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	sched := New(s)
	sched.now = c.now
	c.users = append(c.users, sched)
	cause := make(chan error, 1)
	add(t, sched, name, far, b.job(0, untilLost(cause)))
	done := make(chan error, 1)
	go func() { done <- sched.Run(context.Background()) }()
	following(t, sched)
	c.forward(10 * time.Millisecond)
	c.until(t, "a run", func() bool { return b.len() == 1 })
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-cause; !errors.Is(err, session.ErrClosed) {
		t.Errorf("cause: %v", err)
	}
	if err := <-done; !errors.Is(err, session.ErrClosed) {
		t.Errorf("Run: %v", err)
	}
	if keys := claimKeys(t, client, name); len(keys) != 0 {
		t.Errorf("left: %q", keys)
	}
	if err := sched.Run(t.Context()); !errors.Is(err, session.ErrClosed) {
		t.Errorf("Run after Close: %v", err)
	}
}

func TestMissingPermissionEndsRunWithTheKeys(t *testing.T) {
	t.Parallel()
	m := etcdtest.Start(t)
	root, ctx := m.Client(t), t.Context()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(root.UserAdd(ctx, "root", "r"))
	must(root.UserGrantRole(ctx, "root", "root"))
	must(root.RoleAdd(ctx, "app"))
	must(root.RoleGrantPermission(ctx, "app", "fenceline/session/", clientv3.GetPrefixRangeEnd("fenceline/session/"), clientv3.PermissionType(clientv3.PermReadWrite)))
	must(root.UserAdd(ctx, "app", "a"))
	must(root.UserGrantRole(ctx, "app", "app"))
	must(root.AuthEnable(ctx))
	c := process(t, m.Client(t, func(c *clientv3.Config) { c.Username, c.Password = "app", "a" }), 0)
	add(t, c, "report", far, nothing)
	err := c.Run(t.Context())
	for _, want := range []string{"cron: run", `"report"`, `"fenceline/cron/report/"`, "permission denied"} {
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestLastTwentyRunsAreKeptInAsManyKeys(t *testing.T) {
	t.Parallel()
	client, name, b := etcdtest.Shared(t).Client(t), etcdtest.Name(t), &book{}
	c := newClock("2026-01-01T12:00:00.5Z")
	s := c.process(t, client)
	add(t, s, name, "@every 1m", b.job(0, nil))
	run(t, s)
	following(t, s)
	for n := range 23 {
		c.forward(time.Minute)
		eventually(t, "a run", func() bool {
			c.forward(2 * time.Millisecond)
			h := history(t, s, name)
			return len(h) > 0 && h[len(h)-1].Scheduled.Minute() == n+1
		})
		idle(t, name, s)
	}
	h := history(t, s, name)
	if len(h) != 20 || h[0].Scheduled.Minute() != 4 || h[19].Scheduled.Minute() != 23 {
		t.Errorf("%d runs: %+v", len(h), h)
	}
	if keys := etcdtest.Keys(t, client, "fenceline/cron/"+name+"/"); len(keys) != 21 { // with the record
		t.Errorf("%d keys: %q", len(keys), keys)
	}
}

func TestListTellsJobsWithoutASession(t *testing.T) {
	t.Parallel()
	client, b := etcdtest.Shared(t).Client(t), &book{}
	namespace := etcdtest.Name(t) + "/"
	s := New(openSession(t, client, session.WithNamespace(namespace), session.WithName("reporter")))
	c := newClock("2026-01-01T11:59:59.99Z")
	s.now = c.now
	c.users = append(c.users, s)
	finish := make(chan struct{})
	end := sync.OnceFunc(func() { close(finish) })
	t.Cleanup(end)
	add(t, s, "a/b", "0 * * * *", b.job(0, nil))
	add(t, s, "c", "@every 1h", b.job(0, func(context.Context, Tick) error { <-finish; return nil }), WithLocation(time.FixedZone("Elsewhere", 3600)))
	add(t, s, "never run", "0 0 1 1 *", nothing)
	run(t, s)
	following(t, s)
	c.forward(10 * time.Millisecond)
	c.until(t, "runs", func() bool { return b.len() == 2 && len(history(t, s, "a/b")) == 1 })
	var jobs []Job
	var err error
	eventually(t, "the job that has not run", func() bool {
		jobs, err = List(t.Context(), client, WithNamespace(namespace))
		return err != nil || len(jobs) == 3
	})
	if err != nil {
		t.Fatalf("%+v %v", jobs, err)
	}
	noon := at("2026-01-01T12:00:00Z")
	first, second, third := jobs[0], jobs[1], jobs[2]
	if third.Name != "never run" || third.Schedule != "0 0 1 1 *" || len(third.Ready) != 1 || !strings.HasPrefix(third.Ready[0], "reporter@") || third.Overdue || third.Next.IsZero() {
		t.Errorf("%+v", third)
	}
	if len(first.Ready) != 1 || first.Paused != nil {
		t.Errorf("%+v", first)
	}
	if first.Name != "a/b" || first.Schedule != "0 * * * *" || first.Zone != "UTC" || !first.Last.Equal(noon) ||
		first.Next.Before(time.Now()) || first.Next.Minute() != 0 || first.Running != 0 || !strings.HasPrefix(first.By, "reporter@") ||
		first.Latest == nil || !first.Latest.Scheduled.Equal(noon) {
		t.Errorf("%+v", first)
	}
	if second.Name != "c" || second.Running != 1 || second.Latest != nil || !second.Next.IsZero() {
		t.Errorf("%+v", second)
	}
	end()
}

func TestTicksSpreadOverProcesses(t *testing.T) {
	t.Parallel()
	name, b := etcdtest.Name(t), &book{}
	c := newClock("2026-01-01T12:00:00Z")
	var all []*Scheduler
	for i := range 3 {
		s := c.process(t, etcdtest.Shared(t).Client(t))
		add(t, s, name, "@every 1m", b.job(i, nil))
		run(t, s)
		following(t, s)
		all = append(all, s)
	}
	for n := range 30 {
		c.forward(time.Minute)
		eventually(t, "a run", func() bool {
			c.forward(time.Millisecond)
			h := history(t, all[0], name)
			return len(h) > 0 && b.len() == n+1 && h[len(h)-1].Scheduled.Equal(b.all()[n].Scheduled)
		})
		idle(t, name, all...)
	}
	share := map[int]int{}
	for _, by := range b.by {
		share[by]++
	}
	for i := range 3 {
		if share[i] < 5 {
			t.Errorf("%v", share)
		}
	}
}

func TestHooksTellOfRuns(t *testing.T) {
	t.Parallel()
	name, b := etcdtest.Name(t), &book{}
	told := make(chan string, 9)
	c := newClock("2026-01-01T11:59:59.99Z")
	s := c.process(t, etcdtest.Shared(t).Client(t), session.WithTrace(&session.Trace{
		Granted:  func(kind, name string, _ time.Duration) { told <- "granted " + kind + " " + name },
		Released: func(kind, name string, _ time.Duration) { told <- "released " + kind + " " + name },
	}))
	add(t, s, name, far, b.job(0, nil))
	run(t, s)
	following(t, s)
	c.forward(10 * time.Millisecond)
	c.until(t, "a run", func() bool { return len(told) == 2 })
	if first, second := <-told, <-told; first != "granted cron "+name || second != "released cron "+name {
		t.Errorf("%s, %s", first, second)
	}
}
