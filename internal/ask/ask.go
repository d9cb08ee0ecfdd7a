// Package ask is how a primitive asks etcd: again and again until there is an answer that counts, each time with a bound
// of its own, and so that a request that was given up cannot take effect later.
package ask

import (
	"context"
	"errors"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/fenceline/fenceline/internal/chance"
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
			try, cancel := context.WithTimeout(reach, k.Patience(tries-1))
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
	return keeper.Because(cause, keeper.Explain(k.Client, err, keys))
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

func jitter(d time.Duration) time.Duration { return d * time.Duration(75+chance.N(50)) / 100 }

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
	stop := context.AfterFunc(k.Context(), func() { cancel(k.Closed()) })
	return both, func() { stop(); cancel(nil) }
}

// RecordOf compares the session's own record, which whoever gives up after a lost answer writes again: from then on a
// request that compares it, and is still on its way, fails. sent is the revision that is compared, for CaughtUp.
func RecordOf(e *keeper.Epoch) (cmp clientv3.Cmp, sent int64) {
	sent = e.RecordRevision()
	return clientv3.Compare(clientv3.ModRevision(e.Record()), "=", sent), sent
}

// WriteRecord is that.
func WriteRecord(k *keeper.Keeper, e *keeper.Epoch) clientv3.Op {
	return clientv3.OpPut(e.Record(), k.Record, clientv3.WithLease(e.ID()))
}

// CaughtUp learns from the revision of the session's record, as an answer shows it, why a comparison with it failed:
// Again if it did. A record that somebody has deleted is written again. sent is what was compared: by now others of this session may
// know of a later one, and that the answer shows an earlier one than that means nothing.
func CaughtUp(ctx context.Context, k *keeper.Keeper, e *keeper.Epoch, sent int64, shown *clientv3.GetResponse) error {
	if len(shown.Kvs) == 0 {
		resp, err := k.KV().Do(ctx, WriteRecord(k, e))
		if err != nil {
			return err
		}
		e.RecordWritten(resp.Put().Header.Revision)
		return Again
	}
	switch now := shown.Kvs[0].ModRevision; {
	case now > sent:
		e.RecordWritten(now)
		return Again
	case now < sent:
		e.Rewound(sent, now)
		return settled{e.Err()}
	}
	return nil
}

// Fenced commits ops, and has every request fail that compares the session's record and is still on its way: by writing
// the record, or, where etcd has no space for that, by deleting it. The next such request finds it missing then, and has it
// written. It returns the answers to ops, and their revision.
func Fenced(ctx context.Context, k *keeper.Keeper, e *keeper.Epoch, ops []clientv3.Op) (answers []*pb.ResponseOp, revision int64, err error) {
	record, known := WriteRecord(k, e), e.RecordRevision()
	for ctx.Err() == nil {
		least := e.RecordRevision() // the answer to what is sent from here on cannot be older
		resp, err := k.KV().Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(e.Record()), "=", known)).
			Then(append(slices.Clone(ops), record)...).
			Else(clientv3.OpGet(e.Record(), clientv3.WithKeysOnly())).Commit()
		switch {
		case errors.Is(err, rpctypes.ErrNoSpace) && record.IsPut():
			record = clientv3.OpDelete(e.Record())
			continue
		case err != nil:
			return nil, 0, err
		case resp.Succeeded:
			if record.IsPut() {
				e.RecordWritten(resp.Header.Revision)
			}
			return resp.Responses[:len(ops)], resp.Header.Revision, nil
		}
		kvs := resp.Responses[0].GetResponseRange().Kvs
		switch {
		case len(kvs) == 0: // somebody has deleted it, which fences as well
			known = 0
		case kvs[0].ModRevision < least:
			e.Rewound(least, kvs[0].ModRevision)
			return nil, 0, e.Err()
		default:
			known = kvs[0].ModRevision
			e.RecordWritten(known)
		}
	}
	return nil, 0, context.Cause(ctx)
}
