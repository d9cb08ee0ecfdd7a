package keeper

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fenceline/fenceline/internal/watch"
)

// Live waits for an epoch that may be trusted. It returns ErrClosed after Close; when ctx ends, also why there is none.
func (k *Keeper) Live(ctx context.Context) (*Epoch, error) {
	for {
		k.mu.Lock()
		e, change := k.epoch, k.change
		k.mu.Unlock()
		if k.ctx.Err() != nil {
			return nil, k.Closed()
		}
		if e != nil && e.Err() == nil {
			return e, nil
		}
		select {
		case <-change:
		case <-k.ctx.Done():
			return nil, k.Closed()
		case <-ctx.Done():
			return nil, Because(context.Cause(ctx), k.lastTrouble())
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
		return k.Closed()
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

// Because is err with the reason why a wait came to nothing. If that is the loss of what others held, or of an earlier lease,
// it is only its text: whoever waited has lost nothing.
func Because(err, why error) error {
	switch {
	case why == nil:
		return err
	case errors.Is(why, ErrLost):
		return fmt.Errorf("%w: %s", err, why)
	}
	return fmt.Errorf("%w: %w", err, why)
}

// Watch is the session's watch stream.
func (k *Keeper) Watch() *watch.Stream { return k.watch }

// Elapsed is the time on the keeper's clock.
func (k *Keeper) Elapsed() time.Duration { return k.clock.Elapsed() }

// Context ends at Close, with ErrClosed.
func (k *Keeper) Context() context.Context { return k.ctx }

// Closed is an ErrClosed once the keeper is closed: by Close, or since its client was. Else it is nil.
func (k *Keeper) Closed() error { return context.Cause(k.ctx) }

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

// LeaseTTL is that of the present lease, or of the next one.
func (k *Keeper) LeaseTTL() time.Duration {
	if e := k.Current(); e != nil {
		return e.TTL()
	}
	return k.TTL
}
