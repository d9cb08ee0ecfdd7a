package mirror

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

// history is how long etcd is given to tell what happened; a server that does not say when it has told all, such as
// etcd's proxy, costs that much of a delay, once for each time that something is missed.
const history = time.Second

// between applies what happened after one revision and up to another, if etcd still has all of that, and else nothing: the
// list that follows says what there is.
func (r *Range) between(ctx context.Context, after, upTo int64, of *feed) {
	ctx, cancel := context.WithTimeout(ctx, history)
	defer cancel()
	all, err := Past(ctx, r.Client, []string{r.Prefix}, after, upTo)
	for err == nil && len(all) > 0 { // all of a revision together
		n := 1
		for n < len(all) && all[n].Kv.ModRevision == all[0].Kv.ModRevision {
			n++
		}
		of.beforeLoad(func(c Copy) { c.Apply(all[:n]) })
		all = all[n:]
	}
}

// CompactedError says that etcd has history from Revision on only.
type CompactedError struct{ Revision int64 }

func (e *CompactedError) Error() string {
	return fmt.Sprintf("etcd's history begins at revision %d", e.Revision)
}

// Past is what happened to the keys with these prefixes after one revision and up to another, which etcd has come to, in order. A
// *CompactedError says that etcd does not have all of that any more.
func Past(ctx context.Context, client *clientv3.Client, prefixes []string, after, upTo int64) (all []*mvccpb.Event, err error) {
	if after >= upTo {
		return nil, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	stream, err := pb.NewWatchClient(client.ActiveConnection()).Watch(ctx, grpc.MaxCallRecvMsgSize(math.MaxInt32))
	if err != nil {
		return nil, rpctypes.Error(err)
	}
	for i, prefix := range prefixes {
		create := &pb.WatchCreateRequest{Key: []byte(prefix), RangeEnd: []byte(clientv3.GetPrefixRangeEnd(prefix)), StartRevision: after + 1, WatchId: int64(i) + 1}
		if err := stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}}); err != nil {
			return nil, rpctypes.Error(err)
		}
	}
	asking.Go(func() { askForProgress(ctx, stream) })
	for told, created := false, 0; !told; {
		resp, err := stream.Recv()
		switch {
		case err != nil:
			return nil, rpctypes.Error(err)
		case resp.CompactRevision > 0:
			return nil, &CompactedError{resp.CompactRevision}
		case resp.Canceled:
			return nil, fmt.Errorf("mirror: etcd ended a watch: %s", resp.CancelReason)
		case resp.Created:
			created++
		}
		all = append(all, resp.Events...)
		n := len(all)
		told = len(prefixes) == 1 && n > 0 && all[n-1].Kv.ModRevision >= upTo ||
			created == len(prefixes) && resp.WatchId == clientv3.InvalidWatchID && resp.Header.Revision >= upTo
	}
	all = slices.DeleteFunc(all, func(ev *mvccpb.Event) bool { return ev.Kv.ModRevision > upTo })
	slices.SortStableFunc(all, func(a, b *mvccpb.Event) int { return cmp.Compare(a.Kv.ModRevision, b.Kv.ModRevision) })
	return all, nil
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
