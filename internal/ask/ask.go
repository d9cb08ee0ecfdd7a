// Package ask is how a primitive asks etcd: again and again until there is an answer that counts, each time with a bound
// of its own, and so that a request that was given up cannot take effect later.
package ask

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/fenceline/fenceline/internal/keeper"
)

// Again: a comparison failed for a reason that is known by now; the same request may be sent again at once.
var Again = errors.New("ask: again")

// Settled makes an error that no repetition changes, and that needs no explanation.
func Settled(err error) error { return settled{err} }

type settled struct{ error }

func (e settled) Unwrap() error { return e.error }

// Until repeats f until it succeeds, etcd refuses, or ctx ends. Each attempt has a timeout of its own, under reach: a
// request that is under way when ctx ends may still be answered.
func Until(ctx, reach context.Context, k *keeper.Keeper, keys string, f func(context.Context) error) error {
	for tries := 1; ; tries++ {
		err := grpc.ErrClientConnClosing
		if k.Client.Ctx().Err() == nil { // etcd's client would take a closed connection for one to try again
			try, cancel := context.WithTimeout(reach, k.RequestTimeout())
			err = f(try)
			cancel()
		}
		var final settled
		switch {
		case err == nil:
			return nil
		case errors.As(err, &final):
			return final.error
		case reach.Err() != nil:
			return ended(reach, k, keys, err)
		case errors.Is(err, Again) && ctx.Err() == nil:
			continue
		case errors.Is(err, rpctypes.ErrLeaseNotFound):
			return keeper.ErrRevoked
		case keeper.Final(err):
			return keeper.Explain(k.Client, err, keys)
		}
		if Sleep(ctx, min(10*time.Millisecond<<min(tries, 7), time.Second)); ctx.Err() != nil {
			return ended(ctx, k, keys, err)
		}
	}
}

// ended is the error of an end of ctx. Of a caller whose patience ended, it says what etcd had against the request.
func ended(ctx context.Context, k *keeper.Keeper, keys string, err error) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, keeper.ErrLost) || errors.Is(cause, keeper.ErrClosed) || errors.Is(err, Again) || errors.Is(err, context.Canceled) {
		return cause
	}
	return fmt.Errorf("%w: %w", cause, keeper.Explain(k.Client, err, keys))
}

// Sleep waits for about d, or until ctx ends.
func Sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(jitter(d))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func jitter(d time.Duration) time.Duration { return d * time.Duration(75+rand.IntN(50)) / 100 }

// Patience is how long a wait believes a watch that tells nothing: a connection that has died in silence tells nothing.
func Patience(k *keeper.Keeper) time.Duration { return jitter(max(k.TTL/2, 5*time.Second)) }

// Bounded gives a ctx without a deadline one: for verbs that wait for etcd only.
func Bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, 5*time.Second)
}

// Open is ctx that also ends when the Session is closed, with ErrClosed.
func Open(ctx context.Context, k *keeper.Keeper) (context.Context, context.CancelFunc) {
	both, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(k.Context(), func() { cancel(keeper.ErrClosed) })
	return both, func() { stop(); cancel(nil) }
}

// RecordOf compares the session's own record, which whoever gives up after a lost answer writes again: from then on a
// request that compares it, and is still on its way, fails.
func RecordOf(e *keeper.Epoch) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(e.Record()), "=", e.RecordRevision())
}

// WriteRecord is that.
func WriteRecord(k *keeper.Keeper, e *keeper.Epoch) clientv3.Op {
	return clientv3.OpPut(e.Record(), k.Record, clientv3.WithLease(e.ID()))
}

// CaughtUp learns from the revision of the session's record, as an answer shows it, why a comparison with it failed:
// Again if it did. A record that somebody has deleted is written again.
func CaughtUp(ctx context.Context, k *keeper.Keeper, e *keeper.Epoch, shown *clientv3.GetResponse) error {
	known := e.RecordRevision()
	if len(shown.Kvs) == 0 {
		resp, err := k.Client.Do(ctx, WriteRecord(k, e))
		if err != nil {
			return err
		}
		e.RecordWritten(resp.Put().Header.Revision)
		return Again
	}
	switch now := shown.Kvs[0].ModRevision; {
	case now > known:
		e.RecordWritten(now)
		return Again
	case now < known:
		return settled{fmt.Errorf("etcd has gone back from revision %d to %d", known, now)}
	}
	return nil
}
