package barrier

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/session"
)

// Latch opens after a number of count-downs, and stays open. What was counted stays when the process that counted it
// dies: nothing here has a lease. It is safe for concurrent use.
//
// The tally's value is the number to count from, and its version, which etcd counts, how many ids have counted: one
// transaction counts without having to know how far the others are.
type Latch struct {
	name   string
	count  int64
	prefix string
	tally  string
	opened string // there once the tally is full
	keeper *keeper.Keeper
	err    error
}

// NewLatch does no I/O. An invalid name or count is an error of the first verb.
func NewLatch(s *session.Session, name string, count int64) *Latch {
	k := keeper.Of(s)
	prefix := keyspace.Line(k.Namespace, "latch", name)
	l := &Latch{name: name, count: count, prefix: prefix, tally: prefix + "tally", opened: prefix + "open", keeper: k,
		err: keyspace.CheckName("latch", name)}
	if l.err == nil && count <= 0 {
		l.err = fmt.Errorf("barrier: latch %q: count %d: want at least 1", name, count)
	}
	return l
}

func (l *Latch) failed(verb string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("barrier: %s latch %q: %w", verb, l.name, err)
}

// CountDown counts id, once, however often it is called with it, whoever calls: calling again after an error is safe.
// Once the latch is open it does nothing. ctx bounds it, or 5 s when ctx has no deadline. ErrParties: the latch counts
// from another number; nothing was counted.
func (l *Latch) CountDown(ctx context.Context, id string) error {
	if l.err != nil {
		return l.err
	}
	if err := keyspace.CheckName("id of a latch", id); err != nil {
		return err
	}
	from := strconv.FormatInt(l.count, 10)
	counted := l.prefix + "id/" + keyspace.Escape(id)
	absent := func(key string) clientv3.Cmp { return clientv3.Compare(clientv3.CreateRevision(key), "=", 0) }
	last := clientv3.Compare(clientv3.Version(l.tally), "=", l.count-1)
	count := clientv3.OpTxn([]clientv3.Cmp{absent(counted), absent(l.opened)}, []clientv3.Op{
		clientv3.OpPut(counted, l.keeper.Record),
		clientv3.OpPut(l.tally, from),
		clientv3.OpTxn([]clientv3.Cmp{last}, []clientv3.Op{clientv3.OpPut(l.opened, from)}, nil),
	}, nil)
	look := clientv3.OpGet(l.tally)
	counts := clientv3.OpGet(l.prefix+"id/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	return l.failed("count down", once(ctx, l.keeper, l.prefix, func(ctx context.Context) error {
		resp, err := l.keeper.KV().Txn(ctx).If(clientv3.Compare(clientv3.Value(l.tally), "=", from)).Then(count, look, counts).
			Else(clientv3.OpTxn([]clientv3.Cmp{absent(l.tally)}, []clientv3.Op{count}, []clientv3.Op{look})).Commit()
		if err == nil && resp.Succeeded {
			return l.mend(ctx, resp.Responses[1].GetResponseRange().Kvs, resp.Responses[2].GetResponseRange().Count)
		}
		if err != nil || resp.Responses[0].GetResponseTxn().Succeeded {
			return err
		}
		if err := l.check(resp.Responses[0].GetResponseTxn().Responses[0].GetResponseRange().Kvs); err != nil {
			return etcd.Settled(err)
		}
		return etcd.Again
	}))
}

// mend opens a latch that was copied key by key, into another etcd say: there the tally's version begins again, and would
// never say that it is full. The ids say it, too.
func (l *Latch) mend(ctx context.Context, tally []*mvccpb.KeyValue, ids int64) error {
	if len(tally) == 1 && tally[0].Version >= ids || ids < l.count {
		return nil
	}
	_, err := l.keeper.KV().Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(l.opened), "=", 0)).
		Then(clientv3.OpPut(l.opened, strconv.FormatInt(l.count, 10))).Commit()
	return err
}

// check says whether the latch counts from another number.
func (l *Latch) check(kvs []*mvccpb.KeyValue) error {
	if len(kvs) == 1 && string(kvs[0].Value) != strconv.FormatInt(l.count, 10) {
		return fmt.Errorf("%w: it counts from %.20s, not %d", ErrParties, kvs[0].Value, l.count)
	}
	return nil
}

// Wait returns nil once the latch is open. It ends with ctx, session.ErrClosed, or ErrParties if the latch counts from
// another number. It leaves nothing in etcd, and a lost lease does not end it.
func (l *Latch) Wait(ctx context.Context) error {
	if l.err != nil {
		return l.err
	}
	if _, err := l.left(ctx); errors.Is(err, ErrParties) { // told before the wait; the rest is for the wait to find
		return l.failed("wait at", err)
	}
	err := waitKey(ctx, l.keeper, l.opened, func(kv *mvccpb.KeyValue) (bool, error) {
		if kv == nil {
			return false, nil
		}
		return true, l.check([]*mvccpb.KeyValue{kv})
	})
	return l.failed("wait at", err)
}

// Left is how many count-downs are missing; 0: the latch is open. ctx bounds it, or 5 s when ctx has no deadline.
func (l *Latch) Left(ctx context.Context) (int64, error) {
	if l.err != nil {
		return 0, l.err
	}
	left, err := l.left(ctx)
	return left, l.failed("look at", err)
}

func (l *Latch) left(ctx context.Context) (left int64, err error) {
	err = once(ctx, l.keeper, l.prefix, func(ctx context.Context) error {
		resp, err := l.keeper.KV().Txn(ctx).Then(clientv3.OpGet(l.tally),
			clientv3.OpGet(l.prefix+"id/", clientv3.WithPrefix(), clientv3.WithCountOnly())).Commit()
		if err != nil {
			return err
		}
		if err := l.check(resp.Responses[0].GetResponseRange().Kvs); err != nil {
			return etcd.Settled(err)
		}
		left = max(l.count-resp.Responses[1].GetResponseRange().Count, 0)
		return nil
	})
	return left, err
}
