package keeper

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fenceline/fenceline/internal/watch"
)

// Live waits for an epoch that may be trusted. It answers ErrClosed after Close; when ctx ends, also why there is none.
func (k *Keeper) Live(ctx context.Context) (*Epoch, error) {
	for {
		k.mu.Lock()
		e, change, last := k.epoch, k.change, k.last
		k.mu.Unlock()
		if k.ctx.Err() != nil {
			return nil, ErrClosed
		}
		if e != nil && e.Err() == nil {
			return e, nil
		}
		select {
		case <-change:
		case <-k.ctx.Done():
			return nil, ErrClosed
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), last)
		}
	}
}

// Current is the present epoch, or nil.
func (k *Keeper) Current() *Epoch {
	k.mu.Lock()
	e := k.epoch
	k.mu.Unlock()
	if e == nil || e.Err() != nil {
		return nil
	}
	return e
}

// State looks at the clock, so that it is right before the keeper's own goroutine has noticed.
func (k *Keeper) State() State {
	if k.ctx.Err() != nil {
		return Closed
	}
	e := k.Current()
	switch {
	case e == nil:
		return Down
	case e.Remaining() <= e.TTL()/3:
		return Suspect
	}
	return Live
}

// Healthy is nil while Live, and else says why not.
func (k *Keeper) Healthy() error {
	switch k.State() {
	case Live:
		return nil
	case Closed:
		return ErrClosed
	case Suspect:
		return because("session: a renewal is overdue", k.lastTrouble())
	}
	return because("session: no lease", k.lastTrouble())
}

func because(what string, why error) error {
	if why == nil {
		return errors.New(what)
	}
	return fmt.Errorf("%s: %w", what, why)
}

// Watch is the session's watch stream.
func (k *Keeper) Watch() *watch.Stream { return k.watch }

// Context ends at Close, with ErrClosed.
func (k *Keeper) Context() context.Context { return k.ctx }

// Table is a value of the session's under key, made by create at the first call.
func (k *Keeper) Table(key any, create func() any) any {
	k.mu.Lock()
	defer k.mu.Unlock()
	v, ok := k.tables[key]
	if !ok {
		v = create()
		k.tables[key] = v
	}
	return v
}

// Go runs f in a goroutine that Close waits for; f must end soon after its ctx, which ends at Close. It answers
// false, and runs nothing, after Close.
func (k *Keeper) Go(f func(ctx context.Context)) bool {
	k.mu.Lock()
	if k.ctx.Err() != nil {
		k.mu.Unlock()
		return false
	}
	k.active++
	k.mu.Unlock()
	go func() {
		defer k.finished()
		f(k.ctx)
	}()
	return true
}

// detach is Go for what must also run while Close is under way.
func (k *Keeper) detach(f func()) {
	k.mu.Lock()
	k.active++
	k.mu.Unlock()
	go func() {
		defer k.finished()
		f()
	}()
}

func (k *Keeper) finished() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.active--
	if k.active == 0 && k.idle != nil {
		close(k.idle)
		k.idle = nil
	}
}

// Close ends every hold with ErrClosed, revokes the lease, and waits for the keeper's goroutines. When ctx ends first,
// or etcd cannot be reached, it says so: what was held is then free for others when its lease runs out. Without a
// deadline in ctx, etcd is given five seconds.
func (k *Keeper) Close(ctx context.Context) error {
	k.mu.Lock()
	if k.closed != nil {
		closed := k.closed
		k.mu.Unlock()
		select {
		case <-closed:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("session: another Close is still under way: %w", context.Cause(ctx))
		}
	}
	k.closed = make(chan struct{})
	defer close(k.closed)
	e := k.epoch
	k.mu.Unlock()
	k.setState(Closed, ErrClosed)
	k.cancel(ErrClosed)

	var err error
	if e != nil && e.lose(ErrClosed) == ErrClosed {
		err = k.giveBack(ctx, e)
	}
	if waited := k.wait(ctx); err == nil {
		err = waited
	}
	return err
}

// grace is how long an answer is awaited in a clean-up whose caller's ctx has ended already.
const grace = 100 * time.Millisecond

// giveBack revokes the lease. The caller's cancel does not reach the request, only its deadline does.
func (k *Keeper) giveBack(ctx context.Context, e *Epoch) error {
	bound := 5 * time.Second
	if d, ok := ctx.Deadline(); ok {
		bound = max(time.Until(d), grace)
	}
	done := make(chan error, 1)
	k.detach(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), bound)
		defer cancel()
		done <- k.attempt(ctx, func(ctx context.Context) error { return k.leases.Revoke(ctx, e.id) })
	})
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		select {
		case err = <-done:
		case <-time.After(grace):
			err = context.Cause(ctx)
		}
	}
	if err != nil {
		return fmt.Errorf("session: lease not revoked, so others may wait up to %v for what was held: %w",
			e.TTL(), Explain(k.Client, err, k.Namespace))
	}
	return nil
}

func (k *Keeper) wait(ctx context.Context) error {
	k.mu.Lock()
	if k.active == 0 {
		k.mu.Unlock()
		return nil
	}
	if k.idle == nil {
		k.idle = make(chan struct{})
	}
	idle := k.idle
	k.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("session: still winding up: %w", context.Cause(ctx))
	}
}
