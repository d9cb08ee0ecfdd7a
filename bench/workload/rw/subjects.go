package rw

import (
	"context"
	"errors"
	"sync"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/subject/etcd"
	"github.com/fenceline/fenceline/bench/subject/fenceline"
	"github.com/fenceline/fenceline/bench/subject/local"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
	"go.etcd.io/etcd/client/v3/concurrency"
	recipe "go.etcd.io/etcd/client/v3/experimental/recipes"
)

var subjects = bench.Subjects{
	"etcd": func() bench.Subject {
		return etcd.With("etcd", func(s *concurrency.Session, names []string) bench.Locker {
			return &etcdLocker{rw: recipe.NewRWMutex(s, names[0])}
		})
	},
	"fenceline": func() bench.Subject {
		return fenceline.With("fenceline", func(s *session.Session, names []string) bench.Locker {
			return &fencelineLocker{rw: lock.NewRW(s, names[0])}
		})
	},
	// What readers gain over a lock that knows no readers.
	"fenceline-mutex": func() bench.Subject { return fenceline.Variant("fenceline-mutex") },
	"local":           func() bench.Subject { return local.With(func([]string) func() bench.Locker { return newLocal() }) },
}

type fencelineLocker struct {
	rw   *lock.RWMutex
	held *lock.Lock
}

func (l *fencelineLocker) Lock(ctx context.Context, t *bench.Turn) (err error) {
	if t.Mode == Read {
		l.held, err = l.rw.AcquireRead(ctx)
	} else {
		l.held, err = l.rw.AcquireWrite(ctx)
	}
	return err
}

func (l *fencelineLocker) Unlock(ctx context.Context) error { return l.held.Release(ctx) }

// etcdLocker is etcd's recipe, which takes no context: only the end of its connection ends a wait.
type etcdLocker struct {
	rw   *recipe.RWMutex
	mode int
}

func (l *etcdLocker) Lock(ctx context.Context, t *bench.Turn) (err error) {
	l.mode = t.Mode
	if t.Mode == Read {
		err = l.rw.RLock()
	} else {
		err = l.rw.Lock()
	}
	if err == nil && ctx.Err() != nil {
		// Its lease may have been revoked while it waited, which it does not look at: this is no grant.
		return errors.Join(ctx.Err(), l.Unlock(ctx))
	}
	return err
}

func (l *etcdLocker) Unlock(context.Context) error {
	if l.mode == Read {
		return l.rw.RUnlock()
	}
	return l.rw.Unlock()
}

// newLocal makes lockers of one sync.RWMutex.
func newLocal() func() bench.Locker {
	rw := new(sync.RWMutex)
	return func() bench.Locker { return &localLocker{rw: rw} }
}

type localLocker struct {
	rw   *sync.RWMutex
	mode int
}

func (l *localLocker) Lock(_ context.Context, t *bench.Turn) error {
	l.mode = t.Mode
	if t.Mode == Read {
		l.rw.RLock()
	} else {
		l.rw.Lock()
	}
	return nil
}

func (l *localLocker) Unlock(context.Context) error {
	if l.mode == Read {
		l.rw.RUnlock()
	} else {
		l.rw.Unlock()
	}
	return nil
}
