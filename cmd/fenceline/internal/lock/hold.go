package lock

import (
	"context"
	"time"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/child"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/underhold"
	"github.com/fenceline/fenceline/lock"
)

// held is what the command runs under: a *lock.Lock, or a set of them.
type held interface {
	child.Hold
	Release(ctx context.Context) error
}

// take takes what is asked for, as long as it may wait.
func (r *lockRun) take(ctx context.Context) (err error) {
	if r.waitGiven && r.wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, time.Duration(r.wait), underhold.ErrWaited)
		defer cancel()
	}
	if len(r.names) > 1 {
		return r.takeAll(ctx)
	}
	l, err := r.takeOne()(ctx)
	if err != nil {
		return err
	}
	r.hold, r.locks = l, []*lock.Lock{l}
	return nil
}

func (r *lockRun) takeOne() func(context.Context) (*lock.Lock, error) {
	type takes = func(context.Context) (*lock.Lock, error)
	var wait, try takes
	if name := r.names[0]; r.kind() == app.RwlockKind {
		m := lock.NewRW(r.Session, name, r.options()...)
		wait, try = m.AcquireWrite, m.TryAcquireWrite
		if r.shared {
			wait, try = m.AcquireRead, m.TryAcquireRead
		}
	} else {
		m := r.mutex(name)
		wait, try = m.Acquire, m.TryAcquire
	}
	if r.willNotWait() {
		return try
	}
	return wait
}

// takeAll takes a set.
func (r *lockRun) takeAll(ctx context.Context) error {
	var ms []*lock.Mutex
	for _, name := range r.names {
		ms = append(ms, r.mutex(name))
	}
	take := lock.AcquireAll
	if r.willNotWait() {
		take = lock.TryAcquireAll
	}
	set, err := take(ctx, ms...)
	if err != nil {
		return err
	}
	for _, m := range ms {
		r.locks = append(r.locks, set.Lock(m))
	}
	r.hold = set
	return nil
}

func (r *lockRun) mutex(name string) *lock.Mutex {
	var opts []lock.Option
	for _, opt := range r.options() {
		opts = append(opts, opt)
	}
	return lock.New(r.Session, name, opts...)
}

func (r *lockRun) options() []lock.RWOption {
	opts := []lock.RWOption{lock.WithMinHold(time.Duration(r.minHold)), lock.WithTakeoverDelay(time.Duration(r.takeover))}
	if r.maxWaiters > 0 {
		opts = append(opts, lock.WithMaxWaiters(r.maxWaiters))
	}
	if r.prefix != "" {
		opts = append(opts, lock.WithPrefix(r.prefix))
	}
	return opts
}
