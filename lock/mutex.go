package lock

import (
	"context"
	"errors"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/line"
	"github.com/fenceline/fenceline/internal/queue"
	"github.com/fenceline/fenceline/internal/since"
	"github.com/fenceline/fenceline/session"
)

// Mutex is a lock with one holder at a time, in all processes that use its name. It is safe for concurrent use.
type Mutex struct {
	name string
	opts options
	ref  line.Ref
	id   lineID
	err  error // why it cannot be used
}

// New does no I/O. A Mutex may be shared or made again at will: all of one name in one Session are one local line
// with one entry in etcd. An invalid name or option is an error of the first verb.
func New(s *session.Session, name string, opts ...Option) *Mutex {
	m := &Mutex{name: name, opts: defaults()}
	for _, opt := range opts {
		opt.mutex(&m.opts)
	}
	k := keeper.Of(s)
	prefix, err := m.opts.resolve(k.Namespace, "lock", name)
	m.err, m.id = err, lineID{s, "lock", prefix}
	m.ref = line.Ref{Keeper: k, Kind: "lock", Name: name, Prefix: prefix, Policy: queue.Mutex}
	return m
}

// Acquire waits its turn. If the lease is lost while it waits, it queues again under the next one: its place is lost,
// its wait is not. The same if somebody deletes its entry.
//
// After an error nothing is held and nothing stays queued: when ctx ends Acquire returns at once, and the Session
// deletes the entry in the background, also one whose enqueue is still on its way. The error then wraps ctx's cause
// and, if etcd could not be reached, the reason; else, if that is known, a *session.WaitError in it says who was in the way.
// ErrClosed: the Session was closed. ErrQueueFull: see WithMaxWaiters.
// A refusal by etcd (permission, space) is an error at once.
func (m *Mutex) Acquire(ctx context.Context) (*Lock, error) { return m.acquire(ctx, false) }

// TryAcquire never waits for others: ErrHeld says that somebody is ahead, and then nothing was written. HeldError says who,
// for one or two serializable reads unless it is another goroutine of this Session. It waits for etcd's answer, within ctx, or
// 5 s when ctx has no deadline.
func (m *Mutex) TryAcquire(ctx context.Context) (*Lock, error) {
	ctx, cancel := etcd.Bounded(ctx)
	defer cancel()
	return m.acquire(ctx, true)
}

func (m *Mutex) acquire(ctx context.Context, try bool) (*Lock, error) {
	if m.err != nil {
		return nil, m.err
	}
	h, err := m.ref.Acquire(ctx, &m.opts.Options, try)
	if err != nil {
		return nil, failed("acquire", m.name, err, func() session.Holder { return m.ref.Who(ctx, err) })
	}
	return &Lock{hold: h, name: m.name, of: m.id}, nil
}

// Do runs fn while holding the lock, unless that is lost before fn could begin. fn's ctx ends with the caller's or with
// the hold, whichever is first. The lock is
// released after fn has returned, or panicked, never before. Do returns fn's error, joined with the loss if the hold
// was lost meanwhile: then fn's last steps may have run unprotected.
func (m *Mutex) Do(ctx context.Context, fn func(ctx context.Context, l *Lock) error) error {
	return do(ctx, m.Acquire, fn)
}

func do(ctx context.Context, acquire func(context.Context) (*Lock, error), fn func(ctx context.Context, l *Lock) error) (err error) {
	ctx = since.Owned(ctx)
	l, err := acquire(ctx)
	if err != nil {
		return err
	}
	inside, stop := line.Inside(ctx, l.Context())
	defer func() {
		stop()
		if lost := l.Release(ctx); lost != nil && (errors.Is(lost, session.ErrLost) || errors.Is(lost, session.ErrClosed)) {
			err = errors.Join(err, lost)
		}
	}()
	if inside.Err() != nil { // before it could begin: the process was stopped, say
		return context.Cause(inside)
	}
	return keeper.Of(l.of.session).Labelled(inside, l.of.kind, l.name, func(ctx context.Context) error { return fn(ctx, l) })
}
