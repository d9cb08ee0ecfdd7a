package election

import (
	"context"
	"errors"
	"fmt"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/fence"
)

// ErrNoLeader: nobody stands in the election.
var ErrNoLeader = errors.New("election: no leader")

// Leader is what everybody can read of one who leads, or waits to. The zero Leader is nobody.
type Leader struct {
	Value string      // what it said in Campaign, or proclaimed since
	Token fence.Token // a later leader's is larger
	Key   string      // of its entry in etcd; empty when there is no leader
}

// Current asks etcd who leads, with one linearizable read: the answer holds for a moment between call and return. It
// is ErrNoLeader when there is nobody. A program that wants to know again and again uses Observe.
//
// An etcd that cannot be reached is reported when ctx ends, or after 5 s when ctx has no deadline, with the
// transport's reason. An invalid name or option is an error before any request.
func Current(ctx context.Context, client *clientv3.Client, name string, opts ...WatchOption) (Leader, error) {
	resp, err := ask(ctx, client, name, opts, (*reader).head)
	if err != nil {
		return Leader{}, fmt.Errorf("election: current leader of %q: %w", name, err)
	}
	if len(resp.Kvs) == 0 {
		return Leader{}, fmt.Errorf("%w of %q", ErrNoLeader, name)
	}
	return leaderOf(resp.Kvs[0]), nil
}

// Candidates asks etcd for all who stand in the election, with one linearizable read: the leader first, then those
// who wait, in the order of their arrival. Nobody is no error. Bounds and other errors are those of Current.
func Candidates(ctx context.Context, client *clientv3.Client, name string, opts ...WatchOption) ([]Leader, error) {
	resp, err := ask(ctx, client, name, opts, func(r *reader) *pb.RangeRequest { return r.All() })
	if err != nil {
		return nil, fmt.Errorf("election: candidates of %q: %w", name, err)
	}
	var candidates []Leader
	for _, kv := range inOrder(resp.Kvs) {
		candidates = append(candidates, leaderOf(kv))
	}
	return candidates, nil
}

// ask makes one read for a caller who waits for it.
func ask(ctx context.Context, client *clientv3.Client, name string, opts []WatchOption, read func(*reader) *pb.RangeRequest) (*pb.RangeResponse, error) {
	r, err := newReader(client, name, opts)
	if err != nil {
		return nil, err
	}
	resp, err := r.AskOnce(ctx, read(r))
	if err == nil {
		resp.Kvs = slices.DeleteFunc(resp.Kvs, func(kv *mvccpb.KeyValue) bool { return isTransfer(r.Prefix, kv) })
	}
	return resp, err
}

func leaderOf(kv *mvccpb.KeyValue) Leader {
	return Leader{Value: string(kv.Value), Token: fence.TokenAt(kv.CreateRevision, 0), Key: string(kv.Key)}
}
