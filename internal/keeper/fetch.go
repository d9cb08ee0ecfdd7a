package keeper

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keyspace"
)

// fetch takes the lease of e, or a new one if e is nil, and writes the session's record under it. It tries until ctx ends or an error is hopeless.
func (k *Keeper) fetch(ctx context.Context, hopeless func(error) bool, e *Epoch) (*Epoch, error) {
	err := k.persist(ctx, hopeless, func(try context.Context) error {
		if e == nil {
			e = k.newEpoch()
		}
		err := k.take(try, e)
		switch {
		case err == nil || ctx.Err() != nil || errors.Is(err, ErrNoLease):
			return err
		case errors.Is(err, ErrLost) && e.heritage.adopted:
			return fmt.Errorf("lease %s: %w", keyspace.Lease(e.id), ErrNoLease)
		case errors.Is(err, ErrLost): // it was granted, and over before its record was written
			k.detachRevoke(e.leases())
			e = nil
		}
		k.trouble(k.Explain(err, k.Namespace))
		k.Log.Warn("cannot take a lease", "error", err)
		return err
	})
	if err == nil {
		return e, nil
	}
	if e != nil && !e.heritage.adopted && (e.granted() || e.unsure) {
		k.detachRevoke(e.leases())
	}
	err = k.Explain(err, k.Namespace)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	return nil, err
}

// take makes one attempt at what is still missing of e.
func (k *Keeper) take(ctx context.Context, e *Epoch) error {
	if e.heritage.adopted {
		return k.adopt(ctx, e)
	}
	if !e.granted() {
		t0 := k.clock.Elapsed()
		ttl, err := k.leases.Grant(ctx, e.id, k.TTL)
		if err != nil {
			e.unsure = e.unsure || etcd.Unknown(err)
			return err
		}
		e.extend(t0, ttl)
	}
	at, err := k.leases.Record(ctx, e.id, e.record, k.recordOf(e, e.id))
	if err != nil {
		return err
	}
	e.from(at.cluster)
	e.RecordWritten(at.revision)
	return e.Err() // a lease can be over by then
}

// newEpoch is one whose lease is yet to be granted. The ID is of our own choice, so that asking again after a lost
// answer asks for the same lease.
func (k *Keeper) newEpoch() *Epoch { return k.epochOf(k.newLeasehold()) }

func (k *Keeper) epochOf(l *leasehold) *Epoch {
	return &Epoch{k: k, id: l.id, record: l.record, renewed: make(chan struct{}), spread: spread{leases: []*leasehold{l}},
		holders: map[any]func(error){}, done: make(chan struct{}), told: make(chan struct{})}
}

// persist repeats f within ctx until it succeeds or its error is hopeless.
func (k *Keeper) persist(ctx context.Context, hopeless func(error) bool, f func(context.Context) error) error {
	return etcd.Retry{Client: k.Client, Backoff: etcd.Steady, Within: k.Patience, Hopeless: hopeless}.Do(ctx, f)
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
