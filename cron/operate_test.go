package cron

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

// jobOf is what List says of a job.
func jobOf(t *testing.T, s *Scheduler, name string) (Job, bool) {
	t.Helper()
	jobs, err := List(t.Context(), s.keeper.Client)
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range jobs {
		if j.Name == name {
			return j, true
		}
	}
	return Job{}, false
}

func ready(t *testing.T, s *Scheduler, name string) {
	t.Helper()
	eventually(t, "a process that has the job", func() bool { j, _ := jobOf(t, s, name); return len(j.Ready) == 1 })
}

func TestPausedJobStartsNothingUntilItIsResumed(t *testing.T) {
	t.Parallel()
	client, name, b, e := etcdtest.Shared(t).Client(t), etcdtest.Name(t), &book{}, &ears{}
	c := newClock(time.Now().UTC().Truncate(time.Minute).Format(time.RFC3339))
	s := c.process(t, client, e.options()...)
	add(t, s, name, "@every 1m", b.job(0, nil), WithMissed(RunAll, time.Hour))
	if err := PauseJob(t.Context(), client, name); !errors.Is(err, ErrUnknown) {
		t.Errorf("a job that nobody has: %v", err)
	}
	run(t, s)
	following(t, s)
	ready(t, s, name)
	for range 2 {
		if err := PauseJob(t.Context(), client, name); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the news", func() bool {
		s.jobs[name].mu.Lock()
		defer s.jobs[name].mu.Unlock()
		return s.jobs[name].state.record.Paused != nil
	})
	for range 200 {
		c.forward(time.Second)
		time.Sleep(time.Millisecond)
	}
	if j, _ := jobOf(t, s, name); b.len() != 0 || j.Paused == nil || j.Paused.By == "" || j.Overdue {
		t.Errorf("%d runs, %+v", b.len(), j)
	}
	for range 2 {
		if err := ResumeJob(t.Context(), client, name); err != nil {
			t.Fatal(err)
		}
	}
	c.until(t, "a run", func() bool { c.forward(100 * time.Millisecond); return b.len() > 0 })
	if j, _ := jobOf(t, s, name); j.Paused != nil {
		t.Errorf("%+v", j)
	}
}

func TestTriggeredJobRunsOnceBesideItsSchedule(t *testing.T) {
	t.Parallel()
	client, name, b := etcdtest.Shared(t).Client(t), etcdtest.Name(t), &book{}
	s := process(t, client, 0)
	attempts := atomic.Int32{}
	add(t, s, name, "@yearly", b.job(0, func(context.Context, Tick) error {
		if attempts.Add(1) == 1 {
			return errors.New("no")
		}
		return nil
	}), WithRetries(1))
	if err := TriggerJob(t.Context(), client, name); !errors.Is(err, ErrUnknown) {
		t.Errorf("before anybody has it: %v", err)
	}
	stop := run(t, s)
	following(t, s)
	ready(t, s, name)
	if err := PauseJob(t.Context(), client, name); err != nil { // one that is paused runs, too, but is not retried
		t.Fatal(err)
	}
	asked := time.Now()
	for range 3 {
		if err := TriggerJob(t.Context(), client, name); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "a run", func() bool { return len(history(t, s, name)) == 1 })
	time.Sleep(700 * time.Millisecond) // longer than a retry waits
	n := b.len()
	if n == 0 || attempts.Load() != int32(n) || n > 3 { // requests that came while it ran are one
		t.Errorf("%d runs while it is paused", n)
	}
	if err := ResumeJob(t.Context(), client, name); err != nil {
		t.Fatal(err)
	}
	eventually(t, "no run to be waited for", func() bool { j, _ := jobOf(t, s, name); return j.Waiting == 0 && j.Running == 0 && !j.Asked })
	tick := b.all()[0]
	if d := tick.Scheduled.Sub(asked).Abs(); d > time.Second || tick.Token == 0 {
		t.Errorf("%+v", tick)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if err := TriggerJob(t.Context(), client, name); !errors.Is(err, ErrNobody) || !strings.Contains(err.Error(), name) {
		t.Errorf("when nobody has it: %v", err)
	}
}

func TestForgottenJobLeavesNothingAndCanBeginAnew(t *testing.T) {
	t.Parallel()
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s := process(t, client, 0)
	inside, finish := make(chan struct{}, 9), make(chan struct{})
	add(t, s, name, "@every 1s", func(context.Context, Tick) error { inside <- struct{}{}; <-finish; return nil })
	stop := run(t, s)
	<-inside
	if err := ForgetJob(t.Context(), client, name); !errors.Is(err, ErrRunning) {
		t.Errorf("while it runs: %v", err)
	}
	close(finish)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if err := ForgetJob(t.Context(), client, name); err != nil {
		t.Fatal(err)
	}
	if keys := etcdtest.Keys(t, client, "fenceline/cron/"+name+"/"); len(keys) != 0 {
		t.Errorf("left: %q", keys)
	}
	if err := ForgetJob(t.Context(), client, name); !errors.Is(err, ErrUnknown) {
		t.Errorf("a second time: %v", err)
	}
	if _, err := client.Put(t.Context(), "fenceline/cron/"+name+"/record", "garbage"); err != nil {
		t.Fatal(err)
	}
	for verb, err := range map[string]error{"pause": PauseJob(t.Context(), client, name), "resume": ResumeJob(t.Context(), client, name)} {
		if err == nil || !strings.Contains(err.Error(), "cannot be read") {
			t.Errorf("%s: %v", verb, err)
		}
	}
	run(t, s)
	if err := ForgetJob(t.Context(), client, name); err != nil {
		t.Fatal(err)
	}
	<-inside
}

func TestOperationsNameWrongInput(t *testing.T) {
	t.Parallel()
	client := etcdtest.Shared(t).Client(t)
	for what, err := range map[string]error{
		"job name":  PauseJob(t.Context(), client, ""),
		"namespace": ResumeJob(t.Context(), client, "x", WithNamespace("")),
		"client":    ForgetJob(t.Context(), nil, "x"),
		"slash":     TriggerJob(t.Context(), client, "a\x00"),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), "cron: ") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestRunEndsWithItsTimeout(t *testing.T) {
	t.Parallel()
	client, name, e := etcdtest.Shared(t).Client(t), etcdtest.Name(t), &ears{}
	s := process(t, client, 0, e.options()...)
	causes := make(chan error, 9)
	deaf := make(chan struct{})
	add(t, s, name, "@every 1s", func(ctx context.Context, tick Tick) error {
		<-ctx.Done()
		causes <- context.Cause(ctx)
		if tick.Attempt == 2 {
			<-deaf
		}
		return nil
	}, WithTimeout(100*time.Millisecond), WithRetries(1))
	stop := run(t, s)
	for range 2 {
		if err := <-causes; !errors.Is(err, ErrTimeout) {
			t.Errorf("%v", err)
		}
	}
	eventually(t, "a word of the one that does not end", func() bool {
		log, _, _ := e.heard()
		return strings.Contains(log, "cron job still runs, though its time is up")
	})
	close(deaf)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	h := history(t, s, name)
	if len(h) < 2 || !strings.Contains(h[0].Err, "longer than 100ms") || h[1].Attempt != 2 || !strings.Contains(h[1].Err, "longer than 100ms") {
		t.Errorf("%+v", h)
	}
}

func TestSchedulerRunsNoMoreThanItsBoundAndMissesNothing(t *testing.T) {
	t.Parallel()
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	s := New(openSession(t, client), WithMaxRunning(2))
	var now, most, all atomic.Int32
	for i := range 8 {
		add(t, s, name+string(rune('a'+i)), "@every 10s", func(context.Context, Tick) error {
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(50 * time.Millisecond)
			now.Add(-1)
			all.Add(1)
			return nil
		})
	}
	run(t, s)
	eventually(t, "all", func() bool { return all.Load() >= 8 })
	if most.Load() != 2 {
		t.Errorf("%d at once", most.Load())
	}
}

func TestTicksArePutOffAlikeInAllProcesses(t *testing.T) {
	r := rules{schedule: mustParse(t, "@every 1m", "UTC"), jitter: 20 * time.Second}
	tick := at("2026-01-01T12:00:00Z")
	seen := map[time.Duration]bool{}
	for i := range 100 {
		d := r.delay("job", tick.Add(time.Duration(i)*time.Minute))
		if d < 0 || d >= 20*time.Second || d != r.delay("job", tick.Add(time.Duration(i)*time.Minute)) {
			t.Errorf("%v", d)
		}
		seen[d] = true
	}
	if len(seen) < 90 || r.delay("job", tick) == r.delay("other", tick) {
		t.Errorf("%d of 100 delays differ", len(seen))
	}
	if got, ok := r.due(tick.Add(-time.Minute), tick.Add(-time.Hour), tick.Add(24*time.Second), false); !ok || !got.Equal(tick) {
		t.Errorf("one that is put off is not in time: %v", got)
	}
}

func TestRunAllMakesGoodTheNewestOfManyMissedTicks(t *testing.T) {
	last, now := at("2026-01-01T00:00:00Z"), at("2026-01-08T00:00:00.5Z")
	for most, want := range map[int]time.Time{0: last.Add(time.Second), 1: now.Truncate(time.Second), 100: now.Truncate(time.Second).Add(-99 * time.Second),
		604_799: last.Add(2 * time.Second), 604_800: last.Add(time.Second), 9_999_999: last.Add(time.Second)} {
		r := rules{schedule: aligned(1), missed: RunAll, late: 1000 * time.Hour, most: most}
		if got, ok := r.due(last, now, now, false); !ok || !got.Equal(want) {
			t.Errorf("%d: %v, want %v", most, got, want)
		}
	}
}
