package keeper

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/fenceline/fenceline/internal/chance"
	"github.com/fenceline/fenceline/internal/keyspace"
)

// Waits between attempts, before jitter: doubling from the first to the longest.
const (
	firstWait = 50 * time.Millisecond
	maxWait   = 2 * time.Second
)

// maxRequest bounds one request however long the TTL is.
const maxRequest = 10 * time.Second

// RequestTimeout bounds one request to etcd, so that one endpoint that swallows it does not use up the lease.
func (k *Keeper) RequestTimeout() time.Duration {
	return min(max(k.TTL/4, 2*time.Second), maxRequest)
}

// Patience is the bound of a request of which so many have failed before. The first may have met an endpoint that swallows
// them; then answers are slow, or the way to here is, and they are waited for longer and longer.
func (k *Keeper) Patience(failed int) time.Duration {
	return k.RequestTimeout() << min(max(failed-2, 0), 5)
}

// fetch takes a lease and writes the session's record under it. It tries until ctx ends or an error is hopeless.
func (k *Keeper) fetch(ctx context.Context, hopeless func(error) bool) (*Epoch, error) {
	var e *Epoch
	err := k.persist(ctx, hopeless, func(try context.Context) error {
		if e == nil {
			e = k.newEpoch()
		}
		err := k.take(try, e)
		switch {
		case err == nil || ctx.Err() != nil:
			return err
		case errors.Is(err, ErrLost): // it was granted, and over before its record was written
			k.detachRevoke(e.leases())
			e = nil
		}
		k.trouble(Explain(k.Client, err, k.Namespace))
		k.Log.Warn("cannot take a lease", "error", err)
		return err
	})
	if err == nil {
		return e, nil
	}
	if e != nil && (e.granted() || e.unsure) {
		k.detachRevoke(e.leases())
	}
	err = Explain(k.Client, err, k.Namespace)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	return nil, err
}

// take makes one attempt at what is still missing of e.
func (k *Keeper) take(ctx context.Context, e *Epoch) error {
	if !e.granted() {
		t0 := k.clock.Elapsed()
		ttl, err := k.leases.Grant(ctx, e.id, k.TTL)
		if err != nil {
			e.unsure = e.unsure || Unknown(err)
			return err
		}
		e.extend(t0, ttl)
	}
	at, err := k.leases.Record(ctx, e.id, e.record, k.Record)
	if err != nil {
		return err
	}
	e.from(at.cluster)
	e.RecordWritten(at.revision)
	return e.Err() // a lease can be over by then
}

// newEpoch is one whose lease is yet to be granted. The ID is of our own choice, so that asking again after a lost
// answer asks for the same lease.
func (k *Keeper) newEpoch() *Epoch {
	l := k.newLeasehold()
	return &Epoch{k: k, id: l.id, record: l.record, renewed: make(chan struct{}), spread: spread{leases: []*leasehold{l}},
		holders: map[any]func(error){}, done: make(chan struct{}), told: make(chan struct{})}
}

// persist repeats f within ctx, with jittered back-off, until it succeeds or its error is hopeless. It answers the
// last reason; one from before ctx cut an attempt short says more.
func (k *Keeper) persist(ctx context.Context, hopeless func(error) bool, f func(context.Context) error) error {
	var last error
	failed := 0
	for wait := firstWait; ; wait = min(2*wait, maxWait) {
		err := grpc.ErrClientConnClosing
		if k.Client.Ctx().Err() == nil { // etcd's client would take a closed connection for one to try again
			try, cancel := context.WithTimeout(ctx, k.Patience(failed))
			failed++
			err = f(try)
			cancel()
		}
		if err == nil || hopeless(err) {
			return err
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		if !sleep(ctx, jitter(wait)) {
			return last
		}
	}
}

// detachRevoke gives leases back that nobody uses, so that what hangs on them in etcd does not outlive us by a TTL.
func (k *Keeper) detachRevoke(leases []*leasehold) {
	k.detach(func() {
		ctx, cancel := context.WithTimeout(k.tidy, 2*time.Second)
		defer cancel()
		_ = onEach(leases, func(l *leasehold) error {
			err := k.leases.Revoke(ctx, l.id)
			if err != nil {
				k.Log.Debug("cannot revoke a lost lease; etcd will expire it", "lease", keyspace.Lease(l.id), "error", err)
			}
			return err
		})
	})
}

// jitter spreads d by half of it either way, so that a fleet does not come back all at once.
func jitter(d time.Duration) time.Duration { return d/2 + chance.N(d) }

// sleep answers false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
