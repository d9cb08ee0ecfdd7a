package dashboard

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/fenceline/fenceline/cron"
	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/registry"
	"github.com/fenceline/fenceline/semaphore"
	"github.com/fenceline/fenceline/session"
)

// busy is a cluster with so many locks that are held, and taken again and again, besides jobs, services and all else that a page shows.
func busy(t testing.TB, m *etcdtest.Member, locks, jobs, instances int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		work.Wait()
	})
	open := func(name string) *session.Session {
		t.Helper()
		s, err := session.Open(ctx, m.Client(t), session.WithName(name), session.WithTTL(5*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close(context.Background()) })
		return s
	}
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	workers := []*session.Session{open("worker-a"), open("worker-b"), open("importer")}
	for i := range locks {
		s, name := workers[i%len(workers)], fmt.Sprintf("order-%04d", i)
		of := session.WithOwner(ctx, "batch "+name)
		_, err := lock.New(s, name).Acquire(of)
		ok(err)
		if i%50 == 0 { // somebody waits for it
			for n, other := range workers {
				if other != s {
					of := session.WithOwner(ctx, fmt.Sprintf("audit %d of %s", n, name))
					work.Go(func() { _, _ = lock.New(other, name).Acquire(of) })
				}
			}
		}
	}
	for i := range 20 { // these are taken all the time
		name := fmt.Sprintf("hot-%02d", i)
		for _, s := range workers {
			work.Go(func() {
				for ctx.Err() == nil {
					l, err := lock.New(s, name).Acquire(ctx)
					if err != nil {
						return
					}
					select {
					case <-time.After(time.Duration(200+rand.IntN(2000)) * time.Millisecond):
					case <-ctx.Done():
					}
					_ = l.Release(context.Background())
				}
			})
		}
	}
	_, err := semaphore.New(workers[0], "downloads", 8).Acquire(ctx, 5)
	ok(err)
	work.Go(func() { _, _ = semaphore.New(workers[1], "downloads", 8).Acquire(ctx, 4) })
	for range 3 {
		_, err := lock.NewRW(workers[0], "catalogue").AcquireRead(ctx)
		ok(err)
	}
	work.Go(func() { _, _ = lock.NewRW(workers[1], "catalogue").AcquireWrite(ctx) })
	for _, s := range workers {
		work.Go(func() { _, _ = election.New(s, "reports").Campaign(ctx, "secret-value") })
	}
	accounts := []string{"account-1", "account-2"}
	transfer := func(i int) context.Context { return session.WithOwner(ctx, "transfer of "+accounts[i]) }
	for i := range accounts {
		_, err := lock.New(workers[i], accounts[i]).Acquire(transfer(i))
		ok(err)
	}
	for i := range accounts {
		work.Go(func() { _, _ = lock.New(workers[i], accounts[1-i]).Acquire(transfer(i)) }) // until the end
	}
	c := cron.New(workers[2])
	for i := range jobs {
		ok(c.Add(fmt.Sprintf("job-%02d", i), "@every 5s", func(context.Context, cron.Tick) error {
			if i%10 == 3 {
				return errors.New("the disk is full")
			}
			return nil
		}))
	}
	work.Go(func() { _ = c.Run(ctx) })
	for i := range instances {
		_, err := registry.Register(ctx, workers[i%2], fmt.Sprintf("service-%d", i%10), registry.Instance{Addr: fmt.Sprintf("10.0.%d.%d:80", i/200, i%200), Zone: "a", Version: "1.2"})
		ok(err)
	}
	dead := open("doomed")
	_, err = lock.New(dead, "order-lost").Acquire(ctx)
	ok(err)
	_, err = election.New(dead, "billing").Campaign(ctx, "")
	ok(err)
	doomed = dead
}

// doomed is a session of busy's whose end is to be seen.
var doomed *session.Session
