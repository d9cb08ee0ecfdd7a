package election

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/fenceline/fenceline/internal/keeper"
)

const (
	// patience is how long etcd is given by a caller who sets no deadline, and to answer a request to watch.
	patience = 5 * time.Second
	// requestTimeout bounds one request, so that a member that swallows it does not use up the caller's time.
	requestTimeout = 2 * time.Second

	firstWait, maxWait = 20 * time.Millisecond, time.Second
)

// reader reads one election. It speaks to etcd below clientv3.KV, which would retry until the context ends and keep
// the reason to itself.
type reader struct {
	client      *clientv3.Client
	kv          pb.KVClient
	prefix, end string
}

func newReader(client *clientv3.Client, name string, opts []WatchOption) (*reader, error) {
	prefix, err := resolve(name, opts)
	if err != nil {
		return nil, err
	}
	if err := checkClient(client); err != nil {
		return nil, err
	}
	return &reader{client, pb.NewKVClient(client.ActiveConnection()), prefix, clientv3.GetPrefixRangeEnd(prefix)}, nil
}

func (r *reader) all() *pb.RangeRequest {
	return &pb.RangeRequest{Key: []byte(r.prefix), RangeEnd: []byte(r.end)}
}

// head asks for the first in line.
func (r *reader) head() *pb.RangeRequest {
	req := r.all()
	req.SortTarget, req.SortOrder, req.Limit = pb.RangeRequest_CREATE, pb.RangeRequest_ASCEND, 3 // a mark of a transfer may be among them
	return req
}

func (r *reader) once(ctx context.Context, req *pb.RangeRequest) (*pb.RangeResponse, error) {
	if r.client.Ctx().Err() != nil { // etcd's client would take a closed connection for one to try again
		return nil, grpc.ErrClientConnClosing
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	resp, err := r.kv.Range(ctx, req, grpc.MaxCallRecvMsgSize(math.MaxInt32)) // gRPC would take 4 MiB for the most
	return resp, rpctypes.Error(err)
}

// persist asks until there is an answer, ctx ends, or asking again cannot help. The reason of an attempt that ctx
// did not cut short says more than the last one's.
func (r *reader) persist(ctx context.Context, req *pb.RangeRequest) (*pb.RangeResponse, error) {
	var last error
	for wait := firstWait; ; wait = min(2*wait, maxWait) {
		resp, err := r.once(ctx, req)
		if err == nil || keeper.Final(err) {
			return resp, err
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		if !sleep(ctx, wait) {
			return nil, last
		}
	}
}

// explain puts an error into words. An observer needs less permission than a candidate.
func (r *reader) explain(err error) error {
	if errors.Is(err, rpctypes.ErrPermissionDenied) {
		return fmt.Errorf("etcd denies access to keys %q*: the user's role needs read on that prefix: %w", r.prefix, err)
	}
	return keeper.Explain(r.client, err, r.prefix)
}

// sleep lasts half of d to one and a half, so that a fleet does not come back all at once. It answers false when ctx
// ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d/2 + rand.N(d))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
