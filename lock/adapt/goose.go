package adapt

import (
	"context"
	"database/sql"

	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

// GooseLocker is a lock.Locker of goose, for goose.WithLocker. One may serve several providers, which then take turns.
type GooseLocker struct {
	mutex *lock.Mutex
	name  string
	held  holds
}

// Goose runs the migrations of a database in one process at a time, on whatever database: name says which.
// Processes that come later wait, and then find nothing left to do.
//
//	goose.NewProvider(dialect, db, files, goose.WithLocker(adapt.Goose(s, "migrate orders")))
//
// A provider that waits keeps a connection of its pool. What is not promised: that a migration stops when the lock is
// lost. goose then returns an error that wraps session.ErrLost after it has run. lock.Mutex.Do around a provider's
// calls, in place of this, ends their ctx.
func Goose(s *session.Session, name string, opts ...lock.Option) *GooseLocker {
	return &GooseLocker{mutex: lock.New(s, name, opts...), name: name}
}

// Lock waits its turn, as long as ctx allows; it does not look at the database. After an error nothing is held and
// nothing stays queued. An invalid name or option is an error before any request.
func (g *GooseLocker) Lock(ctx context.Context, _ *sql.DB) error {
	l, err := g.mutex.Acquire(ctx)
	if err != nil {
		return err
	}
	g.held.put(g.name, l)
	return nil
}

// Unlock releases, also with a ctx that has ended. session.ErrLost: the hold was lost before, and somebody else may
// have migrated as well. session.ErrNotHeld: there was no Lock.
func (g *GooseLocker) Unlock(ctx context.Context, _ *sql.DB) error {
	return g.held.release(ctx, g.name)
}
