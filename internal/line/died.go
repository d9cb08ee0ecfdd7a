package line

import (
	"context"
	"errors"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/keyspace"
)

// hasDied tells an entry that went with its lease from one that was deleted. A lease takes all its keys along at one
// revision, the session's record among them; a session that is closed says so in its record first. Of a stranger, who
// has no record, we know only whether his lease is still there. What cannot be found out counts as a death.
func (l *Line) hasDied(ctx context.Context, dir string, d departure) (bool, error) {
	lease, _, ours := keyspace.ParseEntry(strings.TrimPrefix(d.entry.Key, dir))
	if ours && lease != d.entry.Lease {
		return false, nil // parked: released, but too soon
	}
	kv := l.keeper.Client
	for d.gone > d.stood+1 { // at which revision was it deleted?
		at := d.stood + (d.gone-d.stood)/2
		resp, err := kv.Get(ctx, d.entry.Key, clientv3.WithRev(at), clientv3.WithKeysOnly())
		switch {
		case errors.Is(err, rpctypes.ErrCompacted):
			return l.leaseIsGone(ctx, d.entry.Lease)
		case err != nil:
			return false, err
		case len(resp.Kvs) == 1 && resp.Kvs[0].CreateRevision == d.entry.Create:
			d.stood = at
		default:
			d.gone = at
		}
	}
	record := keyspace.Session(l.keeper.Namespace, d.entry.Lease)
	resp, err := kv.Txn(ctx).Then(
		clientv3.OpGet(record, clientv3.WithRev(d.stood)),
		clientv3.OpGet(record, clientv3.WithRev(d.gone), clientv3.WithKeysOnly()),
		clientv3.OpGet(keyspace.Broken(l.keeper.Namespace, d.entry.Create), clientv3.WithKeysOnly())).Commit()
	if errors.Is(err, rpctypes.ErrCompacted) {
		return l.leaseIsGone(ctx, d.entry.Lease)
	}
	if err != nil {
		return false, err
	}
	before, after := resp.Responses[0].GetResponseRange().Kvs, resp.Responses[1].GetResponseRange().Kvs
	switch {
	case len(resp.Responses[2].GetResponseRange().Kvs) > 0: // who was told to go may not have heard of it
		return true, nil
	case len(after) == 1, len(before) == 1 && keeper.Closing(string(before[0].Value)):
		return false, nil
	case len(before) == 1:
		return true, nil
	}
	return l.leaseIsGone(ctx, d.entry.Lease)
}

func (l *Line) leaseIsGone(ctx context.Context, id clientv3.LeaseID) (bool, error) {
	if id == clientv3.NoLease {
		return false, nil
	}
	resp, err := l.keeper.Client.TimeToLive(ctx, id)
	if err != nil && !etcd.LeaseGone(err) {
		return false, err
	}
	return err != nil || resp.TTL <= 0, nil
}
