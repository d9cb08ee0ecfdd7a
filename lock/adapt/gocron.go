package adapt

import (
	"context"
	"fmt"
	"reflect"

	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

// GocronLocker is a gocron.Locker, once L is gocron.Lock.
type GocronLocker[L interface{ Unlock(context.Context) error }] struct {
	session *session.Session
	opts    []lock.Option
}

// Gocron gives each run of a job to one scheduler among all that share the lock's name:
//
//	gocron.NewScheduler(gocron.WithDistributedLocker(adapt.Gocron[gocron.Lock](s, lock.WithMinHold(10*time.Second))))
//
// Give it lock.WithMinHold when the clocks of the machines differ, or the job may be short: a scheduler whose clock is
// behind asks for the lock when another has run the job and given it back, gets it, and runs it again. The minimum
// counts from the grant. It should exceed the difference of the clocks, and leave as much of the job's interval.
//
// Give every job a name, with gocron.WithName. The key of a job without one is the name of its function: methods of
// two values have the same, and of two jobs with one key one is skipped; closures are numbered, and a release with
// one more changes the number.
//
// What is not promised: that a tick is run at all. Its holder may die in the middle, and gocron asks nobody else.
// Package cron has retries.
func Gocron[L interface{ Unlock(context.Context) error }](s *session.Session, opts ...lock.Option) GocronLocker[L] {
	return GocronLocker[L]{s, opts}
}

// Lock tries to get the lock called key, and never waits for others: an error means that gocron skips this run, and
// nothing was written. lock.ErrHeld says that somebody else runs it; session.ErrInvalidName that a key is empty, over
// 512 bytes, not UTF-8 or has control characters. gocron.AfterLockError sees them all. Etcd's answer is awaited within
// ctx, or 5 s when ctx has no deadline; after a cancelled ctx nothing is held.
//
// What it returns is released by Unlock, also one with a ctx that has ended, as gocron's is at shutdown. Unlock's
// error wraps session.ErrLost if the hold was lost while the job ran, and session.ErrNotHeld the second time.
func (g GocronLocker[L]) Lock(ctx context.Context, key string) (L, error) {
	h := &gocronLock{}
	l, fits := any(h).(L)
	if !fits {
		return l, fmt.Errorf("adapt: Gocron[%v]: want Gocron[gocron.Lock]", reflect.TypeFor[L]())
	}
	var none L
	var err error
	if h.lock, err = lock.New(g.session, key, g.opts...).TryAcquire(ctx); err != nil {
		return none, err
	}
	return l, nil
}

type gocronLock struct{ lock *lock.Lock }

func (h *gocronLock) Unlock(ctx context.Context) error { return release(ctx, h.lock) }
