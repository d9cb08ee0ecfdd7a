package barrier

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/session"
)

// Gate is open or closed, for everybody, and stays what it is until somebody says otherwise: its one key has no lease.
// A gate that nobody has closed is open. It is safe for concurrent use.
type Gate struct {
	name   string
	key    string // there while the gate is closed; its value is the record of the session that closed it
	keeper *keeper.Keeper
	err    error
}

// NewGate does no I/O. An invalid name is an error of the first verb.
func NewGate(s *session.Session, name string) *Gate {
	k := keeper.Of(s)
	return &Gate{name: name, key: keyspace.Line(k.Namespace, "gate", name) + "closed", keeper: k,
		err: keyspace.CheckName("gate", name)}
}

func (g *Gate) failed(verb string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("barrier: %s gate %q: %w", verb, g.name, err)
}

// Close closes the gate, also when this process dies after. Closing a closed gate is nothing. ctx bounds it, or 5 s
// when ctx has no deadline. After an error the gate may be closed or not: close it again, or open it.
func (g *Gate) Close(ctx context.Context) error {
	if g.err != nil {
		return g.err
	}
	// A request whose answer was lost may yet arrive, after somebody has opened the gate again: so each makes the ones before it fail.
	var closing keeper.Undoable
	send := func(ctx context.Context) error {
		epoch, err := g.keeper.Live(ctx)
		if err != nil {
			return err
		}
		if closing.Epoch != epoch {
			closing = keeper.Undoable{Epoch: epoch}
		}
		absent := clientv3.Compare(clientv3.CreateRevision(g.key), "=", 0)
		put := clientv3.OpTxn([]clientv3.Cmp{absent}, []clientv3.Op{clientv3.OpPut(g.key, g.keeper.Record)}, nil)
		resp, err := closing.Commit(ctx, keeper.Attempt{Then: []clientv3.Op{put}, Fence: closing.Unknown()})
		if err != nil || resp.Succeeded {
			return err
		}
		if err := resp.Stale(ctx); err != nil {
			return err
		}
		return etcd.Again
	}
	return g.failed("close", once(ctx, g.keeper, g.key, send))
}

// Open opens the gate, whoever has closed it. Opening an open gate is nothing. ctx bounds it, or 5 s when ctx has no
// deadline. After an error the gate may be open or not.
func (g *Gate) Open(ctx context.Context) error {
	if g.err != nil {
		return g.err
	}
	closed := int64(-1) // by which revision; a request that arrives late opens no gate that was closed since
	send := func(ctx context.Context) error {
		if closed < 0 {
			resp, err := g.keeper.KV().Get(ctx, g.key, clientv3.WithKeysOnly())
			if err != nil || len(resp.Kvs) == 0 {
				return err
			}
			closed = resp.Kvs[0].ModRevision
		}
		_, err := g.keeper.KV().Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(g.key), "=", closed)).
			Then(clientv3.OpDelete(g.key)).Commit()
		return err // the comparison fails if somebody else was faster: the gate was open
	}
	return g.failed("open", once(ctx, g.keeper, g.key, send))
}

// Wait returns nil once it has seen the gate open, at once or later; somebody may have closed it again since. It ends
// with ctx, or session.ErrClosed. It leaves nothing in etcd, and a lost lease does not end it.
func (g *Gate) Wait(ctx context.Context) error {
	if g.err != nil {
		return g.err
	}
	open := func(kv *mvccpb.KeyValue) (bool, error) { return kv == nil, nil }
	err := waitKey(ctx, g.keeper, g.key, open)
	return g.failed("wait at", err)
}
