package robfigcron_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync"
	"testing"
	"time"

	"github.com/robfig/cron/v3"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/lock/adapt"
	"github.com/fenceline/fenceline/session"
)

var (
	_ cron.JobWrapper = adapt.Cron[cron.Job](nil, "", nil)
	_ cron.Job        = (*adapt.CronJob)(nil)
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open is a session of its own process, as it were.
func open(t *testing.T, client *clientv3.Client) *session.Session {
	t.Helper()
	s, err := session.Open(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// eachSecond is the schedule of a machine whose clock is behind.
type eachSecond struct{ behind time.Duration }

func (s eachSecond) Next(t time.Time) time.Time {
	return t.Add(-s.behind).Truncate(time.Second).Add(time.Second + s.behind)
}

// start is a cron with one job, which ends with the test.
func start(t *testing.T, schedule cron.Schedule, job cron.Job) {
	c := cron.New()
	c.Schedule(schedule, job)
	c.Start()
	t.Cleanup(func() { <-c.Stop().Done() })
}

// ticks counts by the second.
type ticks struct {
	mu        sync.Mutex
	ran, held map[time.Time]int
}

func (c *ticks) count(m map[time.Time]int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m[time.Now().Round(time.Second)]++
}

// complete is how many ticks both have asked for.
func (c *ticks) complete() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for at, ran := range c.ran {
		if ran+c.held[at] >= 2 {
			n++
		}
	}
	return n
}

func TestEachTickRunsInOneOfTwoCronsHoweverShortTheJob(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	c := &ticks{ran: map[time.Time]int{}, held: map[time.Time]int{}}
	report := func(err error) {
		if !errors.Is(err, lock.ErrHeld) {
			t.Errorf("skipped: %v", err)
		}
		c.count(c.held)
	}
	minimum := lock.WithMinHold(500 * time.Millisecond)
	run := func() { c.count(c.ran) }
	start(t, eachSecond{}, cron.NewChain(adapt.Cron[cron.Job](open(t, client), name, report, minimum)).Then(cron.FuncJob(run)))
	start(t, eachSecond{behind: 200 * time.Millisecond}, adapt.CronFunc(open(t, client), name, func(context.Context) { run() }, report, minimum))
	etcdtest.Eventually(t, 20*time.Second, "three ticks", func() bool { return c.complete() >= 3 })
	c.mu.Lock()
	defer c.mu.Unlock()
	for at, ran := range c.ran {
		if ran != 1 {
			t.Errorf("%v: run %d times", at, ran)
		}
	}
}

func Example() {
	client := etcdtest.Connect() // clientv3.New(clientv3.Config{Endpoints: …})
	defer client.Close()
	ctx := context.Background()
	s, err := session.Open(ctx, client)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close(ctx)

	report := func(err error) {
		if !errors.Is(err, lock.ErrHeld) { // somebody else runs it
			log.Print(err)
		}
	}
	done := make(chan struct{}, 1)
	c := cron.New()
	_, err = c.AddJob("@every 1s", adapt.CronFunc(s, "nightly report", func(ctx context.Context) {
		if ctx.Err() == nil { // the lock is still ours
			fmt.Println("reporting")
		}
		done <- struct{}{}
	}, report, lock.WithMinHold(30*time.Second)))
	if err != nil {
		log.Fatal(err)
	}
	c.Start()
	<-done
	<-c.Stop().Done()
	// Output: reporting
}
