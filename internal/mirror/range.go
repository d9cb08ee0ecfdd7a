package mirror

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fenceline/fenceline/internal/etcd"
)

const (
	// requestTimeout bounds the first requests, so that a member that swallows them does not use up the caller's time.
	requestTimeout = 2 * time.Second

	fewKeys = 16 // of which it is not asked for less
)

// Range is the keys that begin with Prefix, as a client without a session reads them. It speaks to etcd below
// clientv3.KV, which would retry until the context ends and keep the reason to itself.
type Range struct {
	Client      *clientv3.Client
	Prefix, End string
	kv          pb.KVClient
}

// NewRange says why client cannot be used, and what there is instead of a namespace of the client's.
func NewRange(client *clientv3.Client, prefix, instead string) (*Range, error) {
	if err := etcd.Usable(client, instead); err != nil {
		return nil, err
	}
	return &Range{client, prefix, clientv3.GetPrefixRangeEnd(prefix), pb.NewKVClient(client.ActiveConnection())}, nil
}

// All asks for everything there is.
func (r *Range) All() *pb.RangeRequest {
	return &pb.RangeRequest{Key: []byte(r.Prefix), RangeEnd: []byte(r.End)}
}

// Ask asks until there is an answer, ctx ends, or asking again cannot help. Of an answer that does not come in time a
// smaller part is asked for, if req has a limit.
func (r *Range) Ask(ctx context.Context, req *pb.RangeRequest) (resp *pb.RangeResponse, err error) {
	within := func(failed int) time.Duration { return etcd.Patience(requestTimeout, failed) }
	hopeless := func(err error) bool { return etcd.Final(err) || errors.Is(err, rpctypes.ErrCompacted) }
	err = etcd.Retry{Client: r.Client, Backoff: etcd.Prompt, Within: within, Hopeless: hopeless}.Do(ctx, func(ctx context.Context) error {
		resp, err = r.kv.Range(ctx, req, grpc.MaxCallRecvMsgSize(math.MaxInt32)) // gRPC would take 4 MiB for the most
		err = rpctypes.Error(err)
		if (status.Code(err) == codes.DeadlineExceeded || errors.Is(err, context.DeadlineExceeded)) && req.Limit > fewKeys {
			req.Limit /= 4
		}
		return err
	})
	return resp, err
}

// AskOnce is Ask for a caller who waits for it: within ctx, or 5 s when ctx has no deadline. The error is explained.
func (r *Range) AskOnce(ctx context.Context, req *pb.RangeRequest) (resp *pb.RangeResponse, err error) {
	err = r.within(ctx, func(ctx context.Context) error {
		resp, err = r.Ask(ctx, req)
		return err
	})
	return resp, err
}

// ListOnce is List for a caller who waits for it, as AskOnce is.
func (r *Range) ListOnce(ctx context.Context) (kvs []*mvccpb.KeyValue, err error) {
	err = r.within(ctx, func(ctx context.Context) error {
		_, kvs, err = r.List(ctx)
		return err
	})
	return kvs, err
}

func (r *Range) within(ctx context.Context, f func(context.Context) error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	ctx, cancel := etcd.Bounded(ctx)
	defer cancel()
	err := f(ctx)
	if err != nil {
		err = r.Explain(err)
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", err, cause)
		}
	}
	return err
}

// Explain puts an error into words. A reader needs less permission than a session.
func (r *Range) Explain(err error) error {
	if errors.Is(err, rpctypes.ErrPermissionDenied) {
		return fmt.Errorf("etcd denies access to keys %q*: the user's role needs read on that prefix: %w", r.Prefix, err)
	}
	return etcd.Explain(r.Client, err, r.Prefix)
}
