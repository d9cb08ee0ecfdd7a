package watch_test

import (
	"context"
	"io"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"

	"github.com/fenceline/fenceline/internal/watch"
)

// server is the other end of a stream, as a test plays it.
type server struct {
	pb.WatchClient
	opened chan *call
}

// call is one stream that was opened.
type call struct {
	grpc.ClientStream
	ctx      context.Context
	requests chan *pb.WatchRequest
	answers  chan *pb.WatchResponse
}

func (s *server) Watch(ctx context.Context, _ ...grpc.CallOption) (pb.Watch_WatchClient, error) {
	c := &call{ctx: ctx, requests: make(chan *pb.WatchRequest, 1000), answers: make(chan *pb.WatchResponse, 1000)}
	select {
	case s.opened <- c:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return c, nil
}

func (c *call) Send(req *pb.WatchRequest) error {
	select {
	case c.requests <- req:
		return nil
	case <-c.ctx.Done():
		return io.EOF
	}
}

func (c *call) Recv() (*pb.WatchResponse, error) {
	select {
	case a := <-c.answers:
		return a, nil
	case <-c.ctx.Done():
		return nil, c.ctx.Err()
	}
}

// create takes the next request, which must be one to create a watch of key.
func (c *call) create(t *testing.T, key string) *pb.WatchCreateRequest {
	t.Helper()
	req := (<-c.requests).GetCreateRequest()
	if req == nil || string(req.Key) != key {
		t.Fatalf("%v, want a watch of %q", req, key)
	}
	return req
}

func (c *call) cancel(t *testing.T) int64 {
	t.Helper()
	req := (<-c.requests).GetCancelRequest()
	if req == nil {
		t.Fatal("not a cancel")
	}
	return req.WatchId
}

func (c *call) created(id, revision int64) {
	c.answers <- &pb.WatchResponse{Header: &pb.ResponseHeader{Revision: revision}, WatchId: id, Created: true}
}

func (c *call) refused(reason string) {
	c.answers <- &pb.WatchResponse{Header: &pb.ResponseHeader{}, WatchId: -1, Created: true, Canceled: true, CancelReason: reason}
}

func (c *call) event(id int64, key string, revision int64) {
	ev := &mvccpb.Event{Type: mvccpb.Event_PUT, Kv: &mvccpb.KeyValue{Key: []byte(key), ModRevision: revision}}
	c.answers <- &pb.WatchResponse{Header: &pb.ResponseHeader{Revision: revision}, WatchId: id, Events: []*mvccpb.Event{ev}}
}

// played is a stream whose other end is the test.
func played(t *testing.T) (*watch.Stream, *server) {
	srv := &server{opened: make(chan *call)}
	s := watch.New(srv, "probe")
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { s.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return s, srv
}
