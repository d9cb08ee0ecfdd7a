package lock

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/fence"
	"github.com/fenceline/fenceline/internal/line"
)

// Lock is one hold. It ends once: by Release, or by loss.
type Lock struct {
	hold *line.Hold
	part int  // of a hold on several locks
	set  bool // it is one
	name string
	of   lineID
}

var errOfSet = errors.New("it belongs to a Set, which is released as a whole")

// Context ends with the hold: with session.ErrExpired, ErrRevoked or ErrEntryGone when it is lost, with ErrClosed when
// the Session is closed, with ErrNotHeld after Release; context.Cause tells. It carries the values of Acquire's ctx,
// not its deadline. An entry that somebody deletes by hand is noticed once the hold is over a second old.
func (l *Lock) Context() context.Context { return l.hold.Context() }

// Token orders the holders of this lock: each grant has its own, larger than all before. Once asked for it is known for ever,
// also after a release, and costs nothing to look at. Ask while the lock is held: see the package's comment.
func (l *Lock) Token() fence.Token { return l.hold.Token(l.part) }

// Guard returns "this very hold still stands", for the If of an etcd transaction. The first call makes this hold ineligible for local
// hand-over, so the next Acquire in this process costs one write to etcd. The guard of a read hold stands until the last of those who share its
// entry is out: until then, no writer is in. A transaction whose guard fails has written nothing.
func (l *Lock) Guard() []clientv3.Cmp { return l.hold.Guard(l.part) }

// Deadline is until when the hold may be trusted, if no renewal gets through before; the zero time once it has ended.
func (l *Lock) Deadline() time.Time { return l.hold.Deadline() }

// Key is the entry's key in etcd. It exposes the entry. After a release, a handle that was never asked returns "".
func (l *Lock) Key() string { return l.hold.Key(l.part) }

// Asked is closed once somebody wants the lock given back: an operator, by "fenceline release" or inspect.Ask. session.Trace.Asked says who, and why.
// Nothing happens by itself: who does not give it back keeps it. Only a hold that is a second old is asked, and what is asked is the entry:
// of goroutines of one process that have taken turns on it, the one that holds then.
func (l *Lock) Asked() <-chan struct{} { return l.hold.Asked() }

// Lease is the lease that the hold hangs on.
func (l *Lock) Lease() clientv3.LeaseID { return l.hold.Lease(l.part) }

// Release gives the lock back: to the next goroutine here, or to the next process. It returns an error that wraps
// session.ErrLost if the hold was lost before, and deletes nothing of anyone else's then; ErrNotHeld the second time.
// The hold of a Set is released with the Set only.
//
// The request is the Session's own. ctx bounds only how long its answer is awaited, and a ctx that has ended already
// does not keep the lock from being released.
func (l *Lock) Release(ctx context.Context) error {
	err := errOfSet
	if !l.set {
		err = l.hold.Release(ctx)
	}
	if err != nil {
		return fmt.Errorf("lock: release %q: %w", l.name, err)
	}
	return nil
}
