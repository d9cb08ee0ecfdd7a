package keeper

import (
	"context"
	"errors"
	"time"

	"github.com/fenceline/fenceline/internal/etcd"
)

// maxRequest bounds one request however long the TTL is.
const maxRequest = 10 * time.Second

// RequestTimeout bounds one request to etcd, so that one endpoint that swallows it does not use up the lease.
func (k *Keeper) RequestTimeout() time.Duration {
	return min(max(k.TTL/4, 2*time.Second), maxRequest)
}

// Patience is the bound of a request of which so many have failed before.
func (k *Keeper) Patience(failed int) time.Duration {
	return etcd.Patience(k.RequestTimeout(), failed)
}

// Silence is how long a wait believes a watch that tells nothing: a connection that has died in silence tells nothing.
func (k *Keeper) Silence() time.Duration { return max(k.TTL/2, 5*time.Second) }

// Explain puts an error of a request on keys into words.
func (k *Keeper) Explain(err error, keys string) error { return etcd.Explain(k.Client, err, keys) }

// Retry repeats f, which asks about keys, until it succeeds, etcd refuses, or ctx ends. An attempt that is under way when ctx ends may still
// be answered, until reach ends. Of a ctx that ended first, the error also says what etcd had against the request.
func (k *Keeper) Retry(ctx, reach context.Context, keys string, f func(context.Context) error) error {
	retry := etcd.Retry{Client: k.Client, Backoff: etcd.Prompt, Within: k.Patience, Reach: reach,
		Hopeless: func(err error) bool { return etcd.Final(err) || etcd.LeaseGone(err) }}
	err := retry.Do(ctx, f)
	settled, isSettled := etcd.AsSettled(err)
	switch {
	case err == nil:
		return nil
	case isSettled:
		return settled
	case reach.Err() != nil:
		return k.ended(reach, keys, err)
	case etcd.LeaseGone(err):
		return ErrRevoked
	case etcd.Final(err):
		return k.Explain(err, keys)
	}
	return k.ended(ctx, keys, err)
}

// ended is the error of an end of ctx.
func (k *Keeper) ended(ctx context.Context, keys string, err error) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, ErrLost) || errors.Is(cause, ErrClosed) || errors.Is(err, etcd.Again) || errors.Is(err, context.Canceled) {
		return cause
	}
	return Because(cause, k.Explain(err, keys))
}

// WhileOpen is ctx that also ends when the session is closed, with ErrClosed.
func (k *Keeper) WhileOpen(ctx context.Context) (context.Context, context.CancelFunc) {
	both, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(k.Context(), func() { cancel(k.Closed()) })
	return both, func() { stop(); cancel(nil) }
}
