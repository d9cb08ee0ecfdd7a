package keeper

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/fenceline/fenceline/internal/etcd"
)

// Close ends every hold with ErrClosed, revokes its leases, and waits for the keeper's goroutines. When ctx ends first,
// or etcd cannot be reached, it says so: what was held is then free for others when its lease runs out. Without a
// deadline in ctx, etcd is given five seconds.
func (k *Keeper) Close(ctx context.Context) error { return k.end(ctx, (*Keeper).giveBack) }

// Orphan is Close that leaves the lease, and what hangs on it, to whoever goes on under it.
func (k *Keeper) Orphan(ctx context.Context) error {
	bounded, cancel := etcd.Bounded(ctx)
	err := k.disown(bounded)
	cancel()
	if err != nil { // nothing has ended: it may be tried again
		return fmt.Errorf("session: the witness would still give the lease back: %w", k.Explain(err, k.Namespace))
	}
	return k.end(ctx, func(*Keeper, *Epoch, time.Time) <-chan error { return nil })
}

func (k *Keeper) end(ctx context.Context, giveBack func(*Keeper, *Epoch, time.Time) <-chan error) error {
	ctx, cancel := etcd.Bounded(ctx)
	defer cancel()
	deadline, _ := ctx.Deadline()
	ctx, cancel = late(ctx)
	defer cancel()
	k.unhook()
	if k.client.Err() != nil {
		k.clientClosed()
	}

	k.mu.Lock()
	if closed := k.closed; closed != nil {
		k.mu.Unlock()
		if err := await(ctx, closed); err != nil {
			return fmt.Errorf("session: another Close is still under way: %w", err)
		}
		return nil
	}
	k.closed = make(chan struct{})
	defer close(k.closed)
	k.cancel(ErrClosed) // with the mutex held: an epoch is entered either before, and seen here, or not at all
	e := k.epoch
	k.mu.Unlock()

	var revoked <-chan error
	if e != nil && errors.Is(e.lose(ErrClosed), ErrClosed) {
		revoked = giveBack(k, e, deadline)
		_ = await(ctx, e.told) // holds end before hooks run; if they take too long, wait says so
	}
	k.setState(Closed, k.Closed())
	var err error
	if revoked != nil {
		select {
		case err = <-revoked:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		if err != nil {
			err = fmt.Errorf("session: lease not revoked, so others may wait up to %v for what was held: %w",
				e.TTL(), k.Explain(err, k.Namespace))
		}
	}
	if waited := k.wait(ctx); err == nil {
		err = waited
	}
	k.teller.wait(ctx)
	return err
}

// clientClosed ends all as Close does, but for the lease, which cannot be given back: with a closed client there is nobody
// left to ask, for good.
func (k *Keeper) clientClosed() {
	k.mu.Lock()
	if k.ctx.Err() != nil {
		k.mu.Unlock()
		return
	}
	cause := k.Explain(grpc.ErrClientConnClosing, k.Namespace) // is an ErrClosed
	k.cancel(cause)
	e := k.epoch
	k.mu.Unlock()
	if e != nil {
		_ = e.lose(cause) // or it was lost before, for another cause
	}
	k.setState(Closed, cause)
}

// giveBack revokes the lease: until the deadline, and no longer than it can live. The caller's cancel does not reach
// the request.
func (k *Keeper) giveBack(e *Epoch, deadline time.Time) <-chan error {
	done := make(chan error, 1)
	if k.client.Err() != nil {
		done <- grpc.ErrClientConnClosing
		return done
	}
	bound := min(max(time.Until(deadline), grace), e.TTL())
	k.detach(func() {
		ctx, cancel := context.WithTimeout(k.client, bound)
		defer cancel()
		k.part(ctx, e, bound/4)
		k.sayClosing(ctx, e, bound/4)
		done <- onEach(e.leases(), func(l *leasehold) error {
			return k.persist(ctx, etcd.Final, func(ctx context.Context) error { return k.leases.Revoke(ctx, l.id) })
		})
	})
	return done
}

// OnClose has f called at Close, before the lease is revoked, with a ctx that gives it little time: for a last word
// about what stands under the lease.
func (k *Keeper) OnClose(f func(ctx context.Context, e *Epoch)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.parting = append(k.parting, f)
}

func (k *Keeper) part(ctx context.Context, e *Epoch, patience time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	k.mu.Lock()
	parting := k.parting
	k.mu.Unlock()
	for _, f := range parting {
		f(ctx, e)
	}
}

// sayClosing marks the session's record, and its copies, once. Where it does not get through, those who wait after a death do
// so after this Close.
func (k *Keeper) sayClosing(ctx context.Context, e *Epoch, patience time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := onEach(e.leases(), func(l *leasehold) error {
		_, err := k.leases.Record(ctx, l.id, l.record, closing(k.recordOf(e, l.id)))
		return err
	})
	if err != nil {
		k.Log.Debug("record not marked", "error", err)
	}
}

// closingMark ends the record of a session that gives its lease back. Without it a revoked lease looks like one that
// ran out, and a Close like a death.
const closingMark = `,"closing":true}`

func closing(record string) string { return strings.TrimSuffix(record, "}") + closingMark }

// Closing says whether a session's record is the last one, of a session that was closed.
func Closing(record string) bool { return strings.HasSuffix(record, closingMark) }

// wait waits for the keeper's goroutines.
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
	if err := await(ctx, idle); err != nil {
		return fmt.Errorf("session: still winding up: %w", err)
	}
	return nil
}

func await(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// grace is how much longer a clean-up goes on than its caller's ctx, which may have ended before it began.
const grace = 100 * time.Millisecond

// late ends with the cause of ctx, but later by grace.
func late(ctx context.Context) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(grace, func() { cancel(context.Cause(ctx)) })
	})
	return late, func() {
		stop()
		cancel(nil)
	}
}
