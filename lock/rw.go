package lock

import (
	"context"
	"errors"
	"fmt"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/line"
	"github.com/fenceline/fenceline/session"
)

// ErrDowngrade: the hold is not a write hold of this RWMutex.
var ErrDowngrade = errors.New("lock: not a write hold of this lock")

// RWMutex is a lock with one writer or many readers at a time, in all processes that use its name, first come, first
// served: a writer who waits holds back the readers who come after it, and readers next to each other enter together.
// It is safe for concurrent use.
//
// Its entries are of another kind than a Mutex's: a Mutex and an RWMutex of one name have nothing to do with each
// other, unless both stand in one line by WithPrefix. There, an entry that does not say what it is counts as a
// writer's.
type RWMutex struct {
	name string
	opts options
	rw   *rw
	id   lineID
	err  error // why it cannot be used
}

// lineID tells whether two locks are the same one.
type lineID struct {
	session *session.Session
	kind    string
	prefix  string
}

// NewRW does no I/O, as New. The readers of one Session share an entry in etcd while they overlap and no writer waits
// behind it. WithHandoffs is for writers.
func NewRW(s *session.Session, name string, opts ...RWOption) *RWMutex {
	m := &RWMutex{name: name, opts: defaults()}
	for _, opt := range opts {
		opt.rw(&m.opts)
	}
	k := keeper.Of(s)
	prefix, err := m.opts.resolve(k.Namespace, "rwlock", name)
	m.err, m.id = err, lineID{s, "rwlock", prefix}
	m.rw = newRW(k, name, prefix)
	return m
}

// AcquireRead waits until no writer is ahead. For the rest it is as Mutex.Acquire.
func (m *RWMutex) AcquireRead(ctx context.Context) (*Lock, error) {
	return m.acquire(ctx, reading, false)
}

// AcquireWrite waits until nobody is ahead. For the rest it is as Mutex.Acquire.
func (m *RWMutex) AcquireWrite(ctx context.Context) (*Lock, error) {
	return m.acquire(ctx, writing, false)
}

// TryAcquireRead is AcquireRead that never waits for others: ErrHeld says that a writer holds or waits. For the rest
// it is as Mutex.TryAcquire.
func (m *RWMutex) TryAcquireRead(ctx context.Context) (*Lock, error) {
	return m.acquire(ctx, reading, true)
}

// TryAcquireWrite is AcquireWrite that never waits for others: ErrHeld says that somebody holds or waits. For the rest
// it is as Mutex.TryAcquire.
func (m *RWMutex) TryAcquireWrite(ctx context.Context) (*Lock, error) {
	return m.acquire(ctx, writing, true)
}

var sideNames = [...]string{reading: "acquire (read)", writing: "acquire (write)"}

func (m *RWMutex) acquire(ctx context.Context, lane side, try bool) (*Lock, error) {
	if m.err != nil {
		return nil, m.err
	}
	if try {
		var cancel context.CancelFunc
		ctx, cancel = etcd.Bounded(ctx)
		defer cancel()
	}
	h, err := m.rw.acquire(ctx, lane, &m.opts.Options, try)
	if err != nil {
		return nil, failed(sideNames[lane], m.name, err, func() session.Holder { return m.rw.who(ctx, lane, err) })
	}
	return &Lock{hold: h, name: m.name, of: m.id}, nil
}

// DoRead runs fn while holding the lock for reading, as Mutex.Do does.
func (m *RWMutex) DoRead(ctx context.Context, fn func(ctx context.Context, l *Lock) error) error {
	return do(ctx, m.AcquireRead, fn)
}

// DoWrite runs fn while holding the lock for writing, as Mutex.Do does.
func (m *RWMutex) DoWrite(ctx context.Context, fn func(ctx context.Context, l *Lock) error) error {
	return do(ctx, m.AcquireWrite, fn)
}

// Downgrade turns a write hold into a read hold without letting anyone in between: readers who wait right behind it
// enter, writers do not. l stays the handle, with its token, its Context and its place in the line. A Guard that was
// taken before fails from then on; take a new one.
//
// An error that wraps ErrDowngrade says why l cannot be: it is a read hold already, a hold of another lock, or was
// released (session.ErrNotHeld, too). A hold that was lost answers session.ErrLost. When ctx ends before etcd has
// answered, the request goes on in the background, and l has to be taken for a read hold.
func (m *RWMutex) Downgrade(ctx context.Context, l *Lock) error {
	if m.err != nil {
		return m.err
	}
	if err := m.downgrade(ctx, l); err != nil {
		return fmt.Errorf("lock: downgrade %q: %w", m.name, err)
	}
	return nil
}

func (m *RWMutex) downgrade(ctx context.Context, l *Lock) error {
	switch {
	case l == nil:
		return fmt.Errorf("%w: it is nil", ErrDowngrade)
	case l.of != m.id:
		return fmt.Errorf("%w: it is a hold of %q", ErrDowngrade, l.name)
	}
	err := l.hold.Demote(ctx)
	switch {
	case errors.Is(err, line.ErrDemoted):
		return fmt.Errorf("%w: %w", ErrDowngrade, err)
	case errors.Is(err, session.ErrNotHeld):
		return fmt.Errorf("%w: it was released: %w", ErrDowngrade, err)
	}
	return err
}
