package adapt

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

// CertmagicLocker is a certmagic.Locker, TryLocker and LockLeaseRenewer: the part of a certmagic.Storage that locks.
// It is safe for concurrent use, and holds any number of names at once.
type CertmagicLocker struct {
	session *session.Session
	opts    []lock.Option
	held    holds
}

// Certmagic locks for a certmagic.Storage that has no good locks of its own. Embedding picks the methods that are less
// deep, so the storage goes one level below:
//
//	type files struct{ *certmagic.FileStorage }
//	type storage struct {
//		files
//		*adapt.CertmagicLocker
//	}
//
// All instances must share that storage and one namespace of etcd.
func Certmagic(s *session.Session, opts ...lock.Option) *CertmagicLocker {
	return &CertmagicLocker{session: s, opts: opts}
}

// Lock waits its turn for the lock called name, also behind other goroutines of this process, and also if it is the
// caller who has it already. After an error, ctx's among them, nothing is held and nothing stays queued.
func (c *CertmagicLocker) Lock(ctx context.Context, name string) error {
	l, err := lock.New(c.session, name, c.opts...).Acquire(ctx)
	if err != nil {
		return err
	}
	c.held.put(name, l)
	return nil
}

// TryLock never waits for others: false without an error says that somebody has the lock, here or elsewhere, and then
// nothing was written. It waits for etcd's answer, within ctx, or 5 s when ctx has no deadline.
func (c *CertmagicLocker) TryLock(ctx context.Context, name string) (bool, error) {
	l, err := lock.New(c.session, name, c.opts...).TryAcquire(ctx)
	switch {
	case errors.Is(err, lock.ErrHeld):
		return false, nil
	case err != nil:
		return false, err
	}
	c.held.put(name, l)
	return true, nil
}

// Unlock releases name, from whatever goroutine, also with a ctx that has ended. session.ErrNotHeld: it is not held
// through this value. session.ErrLost: the hold was lost before; nothing of anyone else's is released then, and the
// name needs no further Unlock.
//
// If a hold was lost and the same process took the name again, both have an Unlock to come, and nobody says whose is
// the first. The new hold ends with the second.
func (c *CertmagicLocker) Unlock(ctx context.Context, name string) error {
	return c.held.release(ctx, name)
}

// RenewLockLease is called by certmagic before each attempt at a certificate, which go on for up to 30 days. The
// duration is of no use: the Session renews its lease for as long as it is open. What the call does is to say whether
// the hold still stands. If it was lost, the lock is taken again, if nobody has it; the loss then goes unreported,
// since no attempt is under way. An error, lock.ErrHeld among them, has certmagic wait for the next attempt.
func (c *CertmagicLocker) RenewLockLease(ctx context.Context, name string, _ time.Duration) error {
	known, standing := c.held.stands(name)
	if standing {
		return nil
	}
	notHeld := fmt.Errorf("adapt: renew %q: %w", name, session.ErrNotHeld)
	if !known {
		return notHeld
	}
	l, err := lock.New(c.session, name, c.opts...).TryAcquire(ctx)
	if err != nil {
		return err
	}
	if !c.held.replace(name, l) { // unlocked meanwhile
		return errors.Join(notHeld, release(ctx, l))
	}
	return nil
}
