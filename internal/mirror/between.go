package mirror

import (
	"context"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// history is how long etcd is given to tell what happened; a server that does not say when it has told all, such as
// etcd's proxy, costs that much of a delay, once for each time that something is missed.
const history = time.Second

// between applies what happened after one revision and up to another, if etcd still has all of that, and else nothing: the
// list that follows says what there is.
func (r *Range) between(ctx context.Context, after, upTo int64, of *feed) {
	ctx, cancel := context.WithTimeout(ctx, history)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	stream, err := pb.NewWatchClient(r.Client.ActiveConnection()).Watch(ctx)
	if err != nil {
		return
	}
	create := &pb.WatchCreateRequest{Key: []byte(r.Prefix), RangeEnd: []byte(r.End), StartRevision: after + 1}
	if stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}}) != nil {
		return
	}
	asking.Go(func() { askForProgress(ctx, stream) })
	var all []*mvccpb.Event
	for told := false; !told; {
		resp, err := stream.Recv()
		if err != nil || resp.Canceled {
			return
		}
		all = append(all, resp.Events...)
		n := len(all)
		told = n > 0 && all[n-1].Kv.ModRevision >= upTo || resp.WatchId == clientv3.InvalidWatchID && resp.Header.Revision >= upTo
	}
	for len(all) > 0 { // all of a revision together
		n := 1
		for n < len(all) && all[n].Kv.ModRevision == all[0].Kv.ModRevision {
			n++
		}
		if all[0].Kv.ModRevision <= upTo {
			of.beforeLoad(func(c Copy) { c.Apply(all[:n]) })
		}
		all = all[n:]
	}
}

// askForProgress asks again and again: as long as etcd has not told all that is past, it is silent.
func askForProgress(ctx context.Context, stream pb.Watch_WatchClient) {
	t := time.NewTicker(history / 20)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		if stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}) != nil {
			return
		}
	}
}
