package cron

import (
	"context"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open is a session of its own process, as it were.
func openSession(t testing.TB, client *clientv3.Client, opts ...session.Option) *session.Session {
	t.Helper()
	s, err := session.Open(t.Context(), client, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

// process is a Scheduler whose clock is off by skew.
func process(t testing.TB, client *clientv3.Client, skew time.Duration, opts ...session.Option) *Scheduler {
	t.Helper()
	c := New(openSession(t, client, opts...))
	c.now = func() time.Time { return time.Now().Add(skew) }
	return c
}

// run has c run until the end of the test, or until stop.
func run(t testing.TB, c *Scheduler) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	var err error
	go func() {
		defer close(done)
		err = c.Run(ctx)
	}()
	stop = func() error {
		cancel()
		<-done
		return err
	}
	t.Cleanup(func() { stop() })
	return stop
}

func add(t testing.TB, c *Scheduler, job, schedule string, fn func(context.Context, Tick) error, opts ...Option) {
	t.Helper()
	if err := c.Add(job, schedule, fn, opts...); err != nil {
		t.Fatal(err)
	}
}

// book keeps what has been run.
type book struct {
	mu    sync.Mutex
	ticks []Tick
	by    []int
}

// job is a fn that notes its ticks as run by who.
func (b *book) job(who int, then func(context.Context, Tick) error) func(context.Context, Tick) error {
	return func(ctx context.Context, t Tick) error {
		b.mu.Lock()
		b.ticks, b.by = append(b.ticks, t), append(b.by, who)
		b.mu.Unlock()
		if then == nil {
			return nil
		}
		return then(ctx, t)
	}
}

func (b *book) all() []Tick {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Tick{}, b.ticks...)
}

func (b *book) len() int { return len(b.all()) }

func history(t testing.TB, c *Scheduler, job string) []Run {
	t.Helper()
	h, err := c.History(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	etcdtest.Eventually(t, 20*time.Second, what, holds)
}

func claimKeys(t testing.TB, client *clientv3.Client, job string) []string {
	return etcdtest.Keys(t, client, "fenceline/cron/"+job+"/claim/")
}

func TestEachTickIsStartedByOneProcess(t *testing.T) {
	t.Parallel()
	name := etcdtest.Name(t)
	var b book
	var last *Scheduler
	for i := range 4 {
		last = process(t, etcdtest.Shared(t).Client(t), time.Duration(i)*time.Millisecond)
		add(t, last, name, "@every 1s", b.job(i, nil))
		run(t, last)
	}
	eventually(t, "ticks", func() bool { return b.len() >= 4 })
	seen := map[time.Time]bool{}
	var token int64
	for _, tick := range b.all() {
		if seen[tick.Scheduled] || tick.Job != name || tick.Attempt != 1 || tick.Scheduled.Nanosecond() != 0 {
			t.Errorf("%+v", tick)
		}
		if int64(tick.Token) <= token {
			t.Errorf("token %v after %d", tick.Token, token)
		}
		seen[tick.Scheduled], token = true, int64(tick.Token)
	}
	eventually(t, "history", func() bool { return len(history(t, last, name)) >= 4 })
	for _, r := range history(t, last, name) {
		if r.Err != "" || r.By == "" || r.Started.IsZero() || r.Finished.Before(r.Started) || r.Attempt != 1 || r.Job != name {
			t.Errorf("%+v", r)
		}
	}
}

func TestProcessesWithClocksApartNeverRunATickTwice(t *testing.T) {
	t.Parallel()
	name := etcdtest.Name(t)
	var b book
	for i, skew := range []time.Duration{30 * time.Second, 0, -30 * time.Second} {
		c := process(t, etcdtest.Shared(t).Client(t), skew)
		add(t, c, name, "@every 1s", b.job(i, nil), WithMissed(RunAll, time.Hour))
		stop := run(t, c)
		eventually(t, "ticks", func() bool { return b.len() >= 3 })
		if i == 0 { // the fast one dies with its ticks done, and they are not due again where it is earlier
			stop()
		}
	}
	time.Sleep(1500 * time.Millisecond) // nothing to wait for: that nothing happens is the promise
	ticks := b.all()
	seen := map[time.Time]bool{}
	for i, tick := range ticks {
		if seen[tick.Scheduled] || b.by[i] != 0 {
			t.Errorf("run by %d: %v", b.by[i], tick.Scheduled)
		}
		seen[tick.Scheduled] = true
	}
}
