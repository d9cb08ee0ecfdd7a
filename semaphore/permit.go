package semaphore

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/line"
)

// Permit is a number of units that are held. It ends once: by Release, or by loss.
type Permit struct {
	of     *Semaphore
	local  *local
	lane   *lane
	hold   *line.Hold
	passed int   // grants of its entry in a row while others waited
	limit  int64 // at the grant of its entry; 0: not known
}

// Context ends with the permit: with session.ErrExpired, ErrRevoked or ErrEntryGone when it is lost, with ErrClosed
// when the Session is closed, with ErrNotHeld after Release; context.Cause tells. It carries the values of Acquire's
// ctx, not its deadline. An entry that somebody deletes by hand is noticed once the permit is over a second old.
func (p *Permit) Context() context.Context { return p.hold.Context() }

// Asked is closed once somebody wants the permit given back: see lock.Lock.Asked.
func (p *Permit) Asked() <-chan struct{} { return p.hold.Asked() }

// Guard is "this very permit still stands", for the If of an etcd transaction. A transaction whose guard fails has
// written nothing. An entry whose guard was looked at is never handed on to another goroutine here.
func (p *Permit) Guard() []clientv3.Cmp { return p.hold.Guard(0) }

// Units is how many were asked for.
func (p *Permit) Units() int64 { return p.lane.key.units }

// Deadline is until when the permit may be trusted, if no renewal gets through before; the zero time once it has ended.
func (p *Permit) Deadline() time.Time { return p.hold.Deadline() }

// Lease is the lease that the permit hangs on.
func (p *Permit) Lease() clientv3.LeaseID { return p.hold.Lease(0) }

// Release gives the units back, once. It returns an error that wraps session.ErrLost if the permit was lost before;
// ErrNotHeld the second time. The request is the Session's own: ctx bounds only how long its answer is awaited.
func (p *Permit) Release(ctx context.Context) error {
	if err := p.local.release(ctx, p); err != nil {
		return p.of.failed("release", err)
	}
	return nil
}
