package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/session"
)

// ErrDuplicate: another live session has registered this service and ID; or this one has, or an entry stands there that
// belongs to no session.
var ErrDuplicate = errors.New("registry: already registered")

// Register puts the instance into etcd, and keeps it there through lost leases, outages, and deletion by others, until
// Deregister or the Session's Close. It returns when etcd has it. An etcd that is away delays that for as long as ctx
// allows; once registered, nothing makes a Registration give up.
//
// An entry with this ID that another session has left is overwritten, once that session's lease was not renewed until less than
// a quarter of it was left: it has died. Whether it lives, its next renewal tells, so that ErrDuplicate takes a third of its TTL at
// the most, and a second at least. After a change of etcd's leader, which starts all leases anew, it takes that once more.
// An earlier registration of this ID by this Session that is being taken back is waited for.
//
// After an error nothing is registered: when ctx ends Register returns at once, and the Session takes back in the
// background what may have arrived. ErrInvalid and session.ErrInvalidName come before any request.
func Register(ctx context.Context, s *session.Session, service string, in Instance, opts ...Option) (*Registration, error) {
	r, err := register(ctx, keeper.Of(s), service, in, opts)
	if err != nil {
		return nil, fmt.Errorf("registry: register %q: %w", service, err)
	}
	return r, nil
}

func register(ctx context.Context, k *keeper.Keeper, service string, in Instance, opts []Option) (*Registration, error) {
	o, err := resolve(opts, Option.register)
	if err != nil {
		return nil, err
	}
	if err := checkName("service", service); err != nil {
		return nil, err
	}
	if in, err = in.checked(); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	r := &Registration{keeper: k, roster: rosterOf(k), service: service, id: in.ID, key: o.serviceAt(service) + in.ID,
		want: in, wake: make(chan struct{}, 1), changed: make(chan struct{}), done: make(chan struct{}), removed: make(chan struct{}), began: time.Now()}
	if err := r.roster.add(ctx, r); err != nil {
		return nil, err
	}
	if !k.Go(r.run) {
		r.roster.remove(r)
		return nil, k.Closed()
	}
	if err := r.await(ctx, r.isRegistered); err != nil {
		r.abandon()
		return nil, err
	}
	return r, nil
}

// abandon takes back a registration that its caller has not waited for.
func (r *Registration) abandon() {
	r.change(func() { r.leaving = true })
	r.nudge()
}

// await waits until holds says so, the loop has ended, or ctx has. Then it says what the trouble was.
func (r *Registration) await(ctx context.Context, holds func() bool) error {
	for {
		r.mu.Lock()
		ok, err, refusal, changed := holds(), r.err, r.refusal, r.changed
		r.mu.Unlock()
		switch {
		case ok:
			return nil
		case refusal != nil:
			return refusal
		}
		select {
		case <-changed:
		case <-r.done:
			return r.ending(holds)
		case <-ctx.Done():
			if err == nil {
				err = r.keeper.Healthy()
			}
			return keeper.Because(context.Cause(ctx), err)
		}
	}
}

// ending is why the loop has ended although somebody waits.
func (r *Registration) ending(holds func() bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case holds():
		return nil
	case r.err != nil:
		return r.err
	case r.leaving:
		return keeper.ErrNotHeld
	}
	return r.keeper.Closed()
}

// isRegistered and isCurrent say that etcd has an entry of ours, and that it has the latest. Both want the mutex.
func (r *Registration) isRegistered() bool { return r.stands }
func (r *Registration) isCurrent() bool    { return r.stands && r.value == encode(r.want) }
