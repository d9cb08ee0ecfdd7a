package registry

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keeper"
)

// Registration is one instance that is registered, until Deregister or the end of its Session. It is safe for
// concurrent use.
type Registration struct {
	keeper      *keeper.Keeper
	roster      *roster
	service, id string
	key         string
	wake        chan struct{} // the loop has something to look at
	done        chan struct{} // closed when the loop has ended
	removed     chan struct{} // closed when the roster does not have it any more

	mu        sync.Mutex
	changed   chan struct{} // closed and replaced when something of these has changed
	want      Instance
	leaving   bool
	epoch     *keeper.Epoch    // under which the loop puts
	lease     clientv3.LeaseID // of its leases, the one for this entry
	stands    bool             // etcd has an entry of ours under that
	placed    *keeper.Epoch    // under which one was put last
	everStood bool
	value     string    // of it
	err       error     // why it does not stand, or not with the latest value
	refusal   error     // the same, if etcd has refused it
	granted   bool      // the Session's hooks were told that it stands, and not yet how that ended
	began     time.Time // when that was, or since when it does not stand
	out       bool      // the first attempt to leave was answered
	refused   error     // with this

	// The loop's own: what etcd has, as far as is known.
	mod    int64              // mod revision of the entry; 0: there is none
	entry  keeper.Undoable    // its puts
	past   []clientv3.LeaseID // that were this session's
	rival  rival              // another session, which has the ID
	due    time.Time          // when to come back, under the lease of dueFor
	dueFor *keeper.Epoch
	heard  *heard
}

func (r *Registration) change(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	close(r.changed)
	r.changed = make(chan struct{})
}

// standing tells that the entry stands, unless that is known. It is called with the mutex held.
func (r *Registration) standing() {
	if !r.granted {
		r.granted = true
		r.keeper.Granted("registry", r.service+"/"+r.id, time.Since(r.began))
		r.keeper.Registered(r.service, r.id, true, nil)
		r.began = time.Now()
	}
}

// over has it told how that has ended, once.
func (r *Registration) over(tell func(name string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.granted {
		r.granted, r.began = false, time.Now()
		tell(r.service + "/" + r.id)
	}
}

func (r *Registration) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// ID is the instance's, which Addr is by default.
func (r *Registration) ID() string { return r.id }

// Update replaces the instance in place: readers see the one state or the other, and never none. ID must be empty or the
// one that is registered; everything else may change. It returns when etcd has the new state.
//
// When ctx ends first, or etcd refuses, the new state is still what the Registration goes on to put. ErrInvalid comes
// before any request, and changes nothing. session.ErrNotHeld: Deregister was called.
func (r *Registration) Update(ctx context.Context, in Instance) error {
	if err := r.update(ctx, in); err != nil {
		return fmt.Errorf("registry: update %q: %w", r.service+"/"+r.id, err)
	}
	return nil
}

func (r *Registration) update(ctx context.Context, in Instance) error {
	if in.ID == "" {
		in.ID = r.id
	}
	in, err := in.checked()
	switch {
	case err != nil:
		return err
	case in.ID != r.id:
		return fmt.Errorf("%w: ID %q: an update cannot change the ID", ErrInvalid, in.ID)
	}
	if err := r.ended(); err != nil {
		return err
	}
	r.change(func() { r.want, r.refusal = in, nil })
	r.nudge()
	return r.await(ctx, r.isCurrent)
}

// ended says whether the Registration is over.
func (r *Registration) ended() error {
	if r.keeper.Context().Err() != nil {
		return r.keeper.Closed()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.leaving {
		return keeper.ErrNotHeld
	}
	return nil
}

// Registered is nil while etcd has the instance, under a lease that can be trusted, and else says why not: for
// /healthz. It looks at memory and the clock. session.ErrLost: the lease was lost, and the next one is not there
// yet. ErrDuplicate: another session took the ID while this one was away, and keeps it. The Registration goes on trying.
func (r *Registration) Registered() error {
	if err := r.registered(); err != nil {
		return fmt.Errorf("registry: %q is not registered: %w", r.service+"/"+r.id, err)
	}
	return nil
}

func (r *Registration) registered() error {
	if err := r.ended(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if lost := r.epoch.Err(); lost != nil {
		if r.err != nil && !r.stands {
			return fmt.Errorf("%w: %w", lost, r.err)
		}
		return lost
	}
	switch {
	case r.stands:
		return nil
	case r.err != nil:
		return r.err
	}
	return errOnItsWay
}

var errOnItsWay = errors.New("its entry is on its way to etcd")

// Deregister marks the instance as Draining and then takes it out, and ends the Registration. When ctx ends before etcd
// has answered, the Session goes on with that in the background, until the entry or its lease is gone.
//
// session.ErrNotHeld: the second time. session.ErrClosed: the Session was closed. What etcd has against it is answered,
// too, and the Session tries again all the same.
func (r *Registration) Deregister(ctx context.Context) error {
	if err := r.deregister(ctx); err != nil {
		return fmt.Errorf("registry: deregister %q: %w", r.service+"/"+r.id, err)
	}
	return nil
}

func (r *Registration) deregister(ctx context.Context) error {
	if r.keeper.Context().Err() != nil {
		return r.keeper.Closed()
	}
	r.mu.Lock()
	again := r.leaving
	r.leaving, r.err, r.refusal = true, nil, nil
	r.mu.Unlock()
	if again {
		return keeper.ErrNotHeld
	}
	r.nudge()
	if err := r.await(ctx, func() bool { return r.out }); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refused
}
