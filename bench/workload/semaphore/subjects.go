package semaphore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/subject/etcd"
	"github.com/fenceline/fenceline/bench/subject/fenceline"
	"github.com/fenceline/fenceline/bench/subject/local"
	"github.com/fenceline/fenceline/semaphore"
	"github.com/fenceline/fenceline/session"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

var subjects = bench.Subjects{
	"fenceline": func() bench.Subject {
		return tidy{fenceline.With("fenceline", func(s *session.Session, names []string) bench.Locker {
			return &permit{semaphore: semaphore.New(s, names[0], int64(limitOf(names[0])))}
		})}
	},
	// With a limit of one: what a semaphore costs over a mutex.
	"fenceline-mutex": func() bench.Subject { return fenceline.Variant("fenceline-mutex") },
	"etcd-slots": func() bench.Subject {
		return etcd.With("etcd-slots", func(s *concurrency.Session, names []string) bench.Locker {
			l := &slots{}
			for i := range limitOf(names[0]) {
				l.mutexes = append(l.mutexes, concurrency.NewMutex(s, fmt.Sprintf("%s/%d", names[0], i)))
			}
			return l
		})
	},
	"local": func() bench.Subject {
		return local.With(func(names []string) func() bench.Locker {
			units := make(channel, limitOf(names[0]))
			return func() bench.Locker { return units }
		})
	},
}

func limitOf(name string) (limit int) {
	if _, err := fmt.Sscanf(name[strings.LastIndexByte(name, '/')+1:], nameFormat, &limit); err != nil {
		panic(err) // a name that Load.About did not make
	}
	return limit
}

type permit struct {
	semaphore *semaphore.Semaphore
	held      *semaphore.Permit
}

func (p *permit) Lock(ctx context.Context, t *bench.Turn) (err error) {
	p.held, err = p.semaphore.Acquire(ctx, int64(t.Units))
	return err
}

func (p *permit) Unlock(ctx context.Context) error { return p.held.Release(ctx) }

// tidy deletes the limit when a contender has gone, which has no lease.
type tidy struct{ bench.Subject }

func (s tidy) Join(ctx context.Context, p bench.Place) (bench.Contender, error) {
	c, err := s.Subject.Join(ctx, p)
	return tidyContender{c, p}, err
}

type tidyContender struct {
	bench.Contender
	place bench.Place
}

func (c tidyContender) Close(ctx context.Context) error {
	err := c.Contender.Close(ctx)
	client, failed := clientv3.New(c.place.Etcd)
	if failed != nil {
		return errors.Join(err, failed)
	}
	_, failed = client.Delete(ctx, c.place.Prefix+"semaphore/", clientv3.WithPrefix())
	return errors.Join(err, failed, client.Close())
}

// slots is one of etcd's mutexes for each unit: all are tried, in random order, and then one is waited for.
type slots struct {
	mutexes []*concurrency.Mutex
	held    *concurrency.Mutex
}

func (s *slots) Lock(ctx context.Context, _ *bench.Turn) error {
	order := rand.Perm(len(s.mutexes))
	for _, i := range order {
		err := s.mutexes[i].TryLock(ctx)
		if err == nil {
			s.held = s.mutexes[i]
			return nil
		}
		if !errors.Is(err, concurrency.ErrLocked) {
			return err
		}
	}
	s.held = s.mutexes[order[0]]
	return s.held.Lock(ctx)
}

func (s *slots) Unlock(ctx context.Context) error { return s.held.Unlock(ctx) }

// channel has room for so many units.
type channel chan struct{}

func (c channel) Lock(ctx context.Context, _ *bench.Turn) error {
	select {
	case c <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c channel) Unlock(context.Context) error {
	<-c
	return nil
}
