package keeper

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/fenceline/fenceline/internal/watch"
)

// mute is the other end of a watch stream, which says nothing, and notes what it is asked.
type mute struct {
	pb.WatchClient
	grpc.ClientStream
	ctx   context.Context
	asked chan *pb.WatchRequest
}

func (m *mute) Watch(ctx context.Context, _ ...grpc.CallOption) (pb.Watch_WatchClient, error) {
	return &mute{ctx: ctx, asked: m.asked}, nil
}

func (m *mute) Send(req *pb.WatchRequest) error {
	m.asked <- req
	return nil
}

func (m *mute) Recv() (*pb.WatchResponse, error) {
	<-m.ctx.Done()
	return nil, m.ctx.Err()
}

func TestRenewalThatFailsHasTheWatchStreamAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		asked := make(chan *pb.WatchRequest, 100)
		r.watch = watch.New(&mute{asked: asked}, "probe")
		if err := r.open(t.Context(), ttl); err != nil {
			t.Fatal(err)
		}
		defer r.Close(context.Background())
		time.Sleep(ttl/3 - time.Millisecond)
		if len(asked) > 0 {
			t.Fatal("asked, though nobody watches")
		}
		r.etcd.let(renews, refused(errAway))
		time.Sleep(10 * time.Millisecond)
		if len(asked) == 0 {
			t.Error("a renewal has failed, and the stream was not asked")
		}
		r.etcd.let(renews, nil)
	})
}
