package all

import (
	"context"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/subject/etcd"
	"github.com/fenceline/fenceline/bench/subject/fenceline"
	"github.com/fenceline/fenceline/bench/subject/local"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

var subjects = bench.Subjects{
	"etcd": etcd.New,
	"fenceline": func() bench.Subject {
		return fenceline.With("fenceline", func(s *session.Session, names []string) bench.Locker {
			l := &locker{mutexes: make([]*lock.Mutex, len(names))}
			for i, name := range names {
				l.mutexes[i] = lock.New(s, name)
			}
			return l
		})
	},
	"fenceline-sorted": func() bench.Subject { return fenceline.Variant("fenceline-sorted") },
	"local":            local.New,
}

// locker takes a turn's names with AcquireAll.
type locker struct {
	mutexes []*lock.Mutex
	held    *lock.Set
}

func (l *locker) Lock(ctx context.Context, t *bench.Turn) (err error) {
	set := make([]*lock.Mutex, len(t.Names))
	for i, n := range t.Names {
		set[i] = l.mutexes[n]
	}
	l.held, err = lock.AcquireAll(ctx, set...)
	return err
}

func (l *locker) Unlock(ctx context.Context) error { return l.held.Release(ctx) }
