package mirror

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fenceline/fenceline/internal/chance"
	"github.com/fenceline/fenceline/internal/keeper"
)

const (
	// Patience is how long etcd is given by a caller who sets no deadline, and to answer a request to watch.
	Patience = 5 * time.Second
	// requestTimeout bounds one request, so that a member that swallows it does not use up the caller's time. It doubles with
	// each attempt that it ends, up to longestRequest: answers may be large, or the way slow.
	requestTimeout = 2 * time.Second
	longestRequest = time.Minute

	fewKeys = 16 // of which it is not asked for less

	firstWait, maxWait = 20 * time.Millisecond, time.Second
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
	if client == nil {
		return nil, errors.New("the client is nil")
	}
	if client.ActiveConnection() == nil {
		return nil, errors.New("the client has no connection: make it with clientv3.New")
	}
	for _, part := range []any{client.KV, client.Watcher} {
		if strings.HasSuffix(fmt.Sprintf("%T", part), "Prefix") { // our requests go past these
			return nil, fmt.Errorf("the client is wrapped by clientv3/namespace (%T): use a plain client and %s", part, instead)
		}
	}
	return &Range{client, prefix, clientv3.GetPrefixRangeEnd(prefix), pb.NewKVClient(client.ActiveConnection())}, nil
}

// All asks for everything there is.
func (r *Range) All() *pb.RangeRequest {
	return &pb.RangeRequest{Key: []byte(r.Prefix), RangeEnd: []byte(r.End)}
}

func (r *Range) once(ctx context.Context, req *pb.RangeRequest, within time.Duration) (*pb.RangeResponse, error) {
	if r.Client.Ctx().Err() != nil { // etcd's client would take a closed connection for one to try again
		return nil, grpc.ErrClientConnClosing
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	resp, err := r.kv.Range(ctx, req, grpc.MaxCallRecvMsgSize(math.MaxInt32)) // gRPC would take 4 MiB for the most
	return resp, rpctypes.Error(err)
}

// Ask asks until there is an answer, ctx ends, or asking again cannot help. Of an answer that does not come in time a
// smaller part is asked for, if req has a limit. The reason of an attempt that ctx did not cut short says more than the
// last one's.
func (r *Range) Ask(ctx context.Context, req *pb.RangeRequest) (*pb.RangeResponse, error) {
	var last error
	within := requestTimeout
	for wait := firstWait; ; wait = min(2*wait, maxWait) {
		resp, err := r.once(ctx, req, within)
		if status.Code(err) == codes.DeadlineExceeded || errors.Is(err, context.DeadlineExceeded) {
			within = min(2*within, longestRequest)
			if req.Limit > fewKeys {
				req.Limit /= 4
			}
		}
		if err == nil || keeper.Final(err) || errors.Is(err, rpctypes.ErrCompacted) {
			return resp, err
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		if !Sleep(ctx, wait) {
			return nil, last
		}
	}
}

// AskOnce is Ask for a caller who waits for it: within ctx, or Patience when ctx has no deadline. The error is explained.
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
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, Patience)
		defer cancel()
	}
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
	return keeper.Explain(r.Client, err, r.Prefix)
}

// Sleep lasts half of d to one and a half, so that a fleet does not come back all at once. It answers false when ctx
// ended first.
func Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d/2 + chance.N(d))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
