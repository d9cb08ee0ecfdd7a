package concurrency

import (
	"context"
	"errors"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

// The errors of Mutex are those of etcd's package: errors.Is knows them from either.
var (
	// ErrLocked: another one holds the lock, or is ahead in the line (TryLock).
	ErrLocked = concurrency.ErrLocked
	// ErrSessionExpired: the session has ended. From Unlock it says that the lock was lost before.
	ErrSessionExpired = concurrency.ErrSessionExpired
	// ErrLockReleased: this Mutex does not hold the lock (Unlock).
	ErrLockReleased = concurrency.ErrLockReleased
)

// Mutex is a lock with one holder at a time among all sessions, goroutines and processes. It is safe for concurrent use.
type Mutex struct {
	s   *Session
	pfx string
	m   *lock.Mutex

	mu   sync.Mutex
	held *lock.Lock
	last *lock.Lock // which may be released
}

// NewMutex is the lock whose keys are under pfx + "/". It does no I/O.
func NewMutex(s *Session, pfx string) *Mutex {
	return &Mutex{s: s, pfx: pfx, m: lock.New(s.inner, pfx, lock.WithPrefix(pfx))}
}

// TryLock takes the lock if nobody holds or waits for it, and else returns ErrLocked. When it fails nothing is left in etcd. ctx bounds the
// call.
func (m *Mutex) TryLock(ctx context.Context) error {
	l, err := m.m.TryAcquire(ctx)
	if errors.Is(err, lock.ErrHeld) {
		return ErrLocked
	}
	return m.take(ctx, l, err)
}

// Lock waits for the lock, first come, first served. When ctx ends it returns the ctx's error, and what stands in the line is deleted in the
// background. ErrSessionExpired: the session has ended, before or while Lock waited.
func (m *Mutex) Lock(ctx context.Context) error {
	l, err := m.m.Acquire(ctx)
	return m.take(ctx, l, err)
}

func (m *Mutex) take(ctx context.Context, l *lock.Lock, err error) error {
	if err != nil {
		return m.s.failed(ctx, err)
	}
	if m.s.lost() {
		_ = l.Release(ctx) // the request is the session's, and goes on when ctx ends
		return ErrSessionExpired
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held, m.last = l, l
	return nil
}

// Unlock gives the lock back. It returns ErrLockReleased if this Mutex does not hold it, and ErrSessionExpired if it was lost before. When ctx
// ends first the request goes on in the background.
func (m *Mutex) Unlock(ctx context.Context) error {
	m.mu.Lock()
	l := m.held
	m.held = nil
	m.mu.Unlock()
	if l == nil {
		return ErrLockReleased
	}
	err := l.Release(ctx)
	if errors.Is(err, session.ErrLost) || errors.Is(err, session.ErrClosed) {
		return ErrSessionExpired
	}
	return err
}

// Held is the hold beneath, with its Context, Token and Guard; nil while this Mutex does not hold the lock.
func (m *Mutex) Held() *lock.Lock {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.held
}

// IsOwner is a comparison for a transaction that succeeds while this Mutex holds the lock. Before the first Lock and after Unlock it never
// succeeds.
func (m *Mutex) IsOwner() clientv3.Cmp {
	l := m.Held()
	if l == nil {
		return clientv3.Compare(clientv3.CreateRevision("\x00"), "=", -1)
	}
	return clientv3.Compare(clientv3.CreateRevision(l.Key()), "=", l.Token().Revision())
}

// Key is the key of the lock that is held, or "".
func (m *Mutex) Key() string {
	if l := m.Held(); l != nil {
		return l.Key()
	}
	return ""
}

// Header is the header of a read of etcd that came after the lock was taken, or nil if it never was. Its revision is not smaller than that of
// the key. It is read when it is asked for.
func (m *Mutex) Header() *pb.ResponseHeader {
	m.mu.Lock()
	l := m.last
	m.mu.Unlock()
	if l == nil {
		return nil
	}
	return m.s.header(l.Token().Revision())
}

// header reads etcd's. Where that fails it has the revision only.
func (s *Session) header(revision int64) *pb.ResponseHeader {
	ctx, cancel := context.WithTimeout(s.ctx, s.ttl/3)
	defer cancel()
	resp, err := s.client.Get(ctx, "\x00", clientv3.WithKeysOnly())
	if err != nil {
		return &pb.ResponseHeader{Revision: revision}
	}
	return resp.Header
}

type locker struct{ *Mutex }

// Lock panics with the error if there is one.
func (l locker) Lock() {
	if err := l.Mutex.Lock(l.s.client.Ctx()); err != nil {
		panic(err)
	}
}

// Unlock panics with the error if there is one, unless the lock was lost: then there is nothing to give back.
func (l locker) Unlock() {
	if err := l.Mutex.Unlock(l.s.client.Ctx()); err != nil && !errors.Is(err, ErrSessionExpired) {
		panic(err)
	}
}

// NewLocker is a sync.Locker on a Mutex. Its methods panic where they cannot return an error.
func NewLocker(s *Session, pfx string) sync.Locker { return locker{NewMutex(s, pfx)} }
