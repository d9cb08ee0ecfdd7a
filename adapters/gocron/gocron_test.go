package gocron_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/go-co-op/gocron/v2"
	"github.com/google/uuid"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/lock/adapt"
	"github.com/fenceline/fenceline/session"
)

var _ gocron.Locker = adapt.Gocron[gocron.Lock](nil)

func TestMain(m *testing.M) {
	if endpoint := os.Getenv(endpointVariable); endpoint != "" {
		if err := schedule(endpoint, os.Getenv(nameVariable)); err != nil {
			log.Fatal(err)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

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

// start is a scheduler on a session of its own, with one job. It ends with the test.
func start(t *testing.T, client *clientv3.Client, schedule gocron.JobDefinition, task gocron.Task, job []gocron.JobOption, opts ...lock.Option) gocron.Scheduler {
	t.Helper()
	locker := adapt.Gocron[gocron.Lock](open(t, client), opts...)
	scheduler, err := gocron.NewScheduler(gocron.WithDistributedLocker(locker))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { scheduler.Shutdown() })
	if _, err := scheduler.NewJob(schedule, task, job...); err != nil {
		t.Fatal(err)
	}
	scheduler.Start()
	return scheduler
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

// complete is how many ticks both schedulers have asked for.
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

// The clock of the second scheduler is behind, and the job done by the time it asks.
func TestEachTickRunsInOneOfTwoSchedulersHoweverShortTheJob(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	c := &ticks{ran: map[time.Time]int{}, held: map[time.Time]int{}}
	skipped := gocron.AfterLockError(func(_ uuid.UUID, key string, err error) {
		if key != name || !errors.Is(err, lock.ErrHeld) {
			t.Errorf("skipped %q: %v", key, err)
		}
		c.count(c.held)
	})
	first := time.Now().Truncate(time.Second).Add(2 * time.Second)
	for _, behind := range []time.Duration{0, 200 * time.Millisecond} {
		start(t, client, gocron.DurationJob(time.Second), gocron.NewTask(func() { c.count(c.ran) }),
			[]gocron.JobOption{
				gocron.WithName(name),
				gocron.WithEventListeners(skipped),
				gocron.WithStartAt(gocron.WithStartDateTime(first.Add(behind))),
			}, lock.WithMinHold(500*time.Millisecond))
	}
	etcdtest.Eventually(t, 20*time.Second, "three ticks", func() bool { return c.complete() >= 3 })
	c.mu.Lock()
	defer c.mu.Unlock()
	for at, ran := range c.ran {
		if ran != 1 {
			t.Errorf("%v: run %d times", at, ran)
		}
	}
}

// Shutdown cancels the job's context, and gocron unlocks with that.
func TestShutdownDuringARunReleases(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), etcdtest.Name(t)
	running := make(chan struct{})
	task := gocron.NewTask(func(ctx context.Context) {
		close(running)
		<-ctx.Done()
	})
	scheduler := start(t, client, gocron.OneTimeJob(gocron.OneTimeJobStartImmediately()), task, []gocron.JobOption{gocron.WithName(name)})
	<-running
	if err := scheduler.Shutdown(); err != nil {
		t.Fatal(err)
	}
	l, err := adapt.Gocron[gocron.Lock](open(t, client)).Lock(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Unlock(t.Context()); err != nil {
		t.Fatal(err)
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

	// Above the difference of the machines' clocks, and below the interval.
	locker := adapt.Gocron[gocron.Lock](s, lock.WithMinHold(10*time.Second))
	scheduler, err := gocron.NewScheduler(gocron.WithDistributedLocker(locker))
	if err != nil {
		log.Fatal(err)
	}
	done := make(chan struct{})
	_, err = scheduler.NewJob(
		gocron.OneTimeJob(gocron.OneTimeJobStartImmediately()),
		gocron.NewTask(func() { fmt.Println("cleaning up"); close(done) }),
		gocron.WithName("clean up orders"), // the lock's name
	)
	if err != nil {
		log.Fatal(err)
	}
	scheduler.Start()
	<-done
	if err := scheduler.Shutdown(); err != nil {
		log.Fatal(err)
	}
	// Output: cleaning up
}
