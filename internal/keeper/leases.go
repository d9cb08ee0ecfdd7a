package keeper

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
)

// leases is what a keeper asks of etcd.
type leases interface {
	// Grant creates the lease, or finds that an earlier attempt has, and returns the TTL that etcd gave it.
	Grant(ctx context.Context, id clientv3.LeaseID, ttl time.Duration) (time.Duration, error)
	// Renew returns ErrRevoked when there is no such lease.
	Renew(ctx context.Context, id clientv3.LeaseID) (renewal, error)
	Revoke(ctx context.Context, id clientv3.LeaseID) error
	// Record writes who the session is, under the lease, and returns the revision of that.
	Record(ctx context.Context, id clientv3.LeaseID, key, value string) (point, error)
	// Recorded is what such a record says, and Keys what hangs on the lease.
	Recorded(ctx context.Context, key string) (string, error)
	Keys(ctx context.Context, id clientv3.LeaseID) ([]Heirloom, error)
	// Revision is the quorum's. It is asked by reading key.
	Revision(ctx context.Context, key string) (point, error)
}

// renewal is an acknowledged one: the TTL begins anew. revision is that of the member which has answered.
type renewal struct {
	ttl time.Duration
	point
}

// point is where and when in etcd's history an answer was given. The cluster is another one when an etcd was restored from a backup under a
// new token, or under other addresses.
type point struct {
	cluster  uint64 // 0: not told
	revision int64
}

func pointOf(h *pb.ResponseHeader) point { return point{h.GetClusterId(), h.GetRevision()} }

// etcdLeases speaks to etcd below clientv3.Lease, for two reasons: a Grant with an ID of our own choice can be
// repeated without leaking a second lease, and a failed call must come back with its reason instead of being retried
// until the context ends.
type etcdLeases struct {
	client *clientv3.Client
	conn   *grpc.ClientConn
	rpc    pb.LeaseClient
	stream *atomic.Bool // a renewal needs a stream; see Renew
}

func newEtcdLeases(client *clientv3.Client) etcdLeases {
	conn := client.ActiveConnection()
	return etcdLeases{client, conn, pb.NewLeaseClient(conn), &atomic.Bool{}}
}

func (l etcdLeases) Grant(ctx context.Context, id clientv3.LeaseID, ttl time.Duration) (time.Duration, error) {
	defer l.reconnect()
	resp, err := l.rpc.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: int64(id), TTL: int64(ttl / time.Second)})
	if errors.Is(rpctypes.Error(err), rpctypes.ErrLeaseExist) {
		// An earlier attempt got through without its answer. How much of it is left only a renewal tells.
		r, err := l.Renew(ctx, id)
		return r.ttl, err
	}
	if err != nil {
		return 0, rpctypes.Error(err)
	}
	return time.Duration(resp.TTL) * time.Second, nil
}

// reconnect has gRPC try again at once where it has failed to connect. By itself it waits longer and longer, up to
// two minutes; a lease has less time than that, and our own attempts are spaced and jittered.
func (l etcdLeases) reconnect() {
	if l.conn.GetState() == connectivity.TransientFailure {
		l.conn.ResetConnectBackoff()
	}
}

// Renew asks one question, of which the answer can belong to no other: so that it can be counted from when it was sent.
//
// The question goes out as a plain call on the method, which is a stream to etcd: one message and its end. For a real
// stream etcd's client would log in each time, which costs etcd a check of the password and a proposal. But etcd's
// grpc-proxy takes the end of the questions for the end of the stream, and does not answer: it gets a stream.
func (l etcdLeases) Renew(ctx context.Context, id clientv3.LeaseID) (renewal, error) {
	defer l.reconnect()
	ctx = clientv3.WithRequireLeader(ctx)
	req := &pb.LeaseKeepAliveRequest{ID: int64(id)}
	if !l.stream.Load() {
		resp, answered, err := l.renewByCall(ctx, req)
		if answered {
			return renewed(resp, err)
		}
	}
	resp, err := l.renewByStream(ctx, req)
	if err == nil {
		l.stream.Store(true)
	}
	return renewed(resp, err)
}

// renewByCall answers false if the other side has ended the call instead of answering it. etcd's client would take that for
// a time-out of its own, and call again until ctx ends.
func (l etcdLeases) renewByCall(ctx context.Context, req *pb.LeaseKeepAliveRequest) (resp *pb.LeaseKeepAliveResponse, answered bool, err error) {
	calling, cancel := context.WithCancel(ctx)
	defer cancel()
	var unanswered atomic.Bool
	resp = &pb.LeaseKeepAliveResponse{}
	err = l.conn.Invoke(calling, pb.Lease_LeaseKeepAlive_FullMethodName, req, resp, grpc.OnFinish(func(err error) {
		if ctx.Err() == nil && endedUnanswered(err) {
			unanswered.Store(true)
			cancel()
		}
	}))
	return resp, !unanswered.Load(), err
}

// endedUnanswered says that the other side has ended a call properly, and not answered it.
func endedUnanswered(err error) bool {
	switch status.Code(err) {
	case codes.Canceled, codes.Internal:
		return true
	}
	return false
}

func (l etcdLeases) renewByStream(ctx context.Context, req *pb.LeaseKeepAliveRequest) (*pb.LeaseKeepAliveResponse, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := l.rpc.LeaseKeepAlive(ctx)
	if err != nil {
		return nil, err
	}
	if err := stream.Send(req); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return stream.Recv() // after io.EOF on Send, the reason is here
}

func renewed(resp *pb.LeaseKeepAliveResponse, err error) (renewal, error) {
	switch {
	case errors.Is(rpctypes.Error(err), rpctypes.ErrLeaseNotFound):
		return renewal{}, ErrRevoked
	case err != nil:
		return renewal{}, rpctypes.Error(err)
	case resp.TTL <= 0:
		return renewal{}, ErrRevoked
	}
	return renewal{time.Duration(resp.TTL) * time.Second, pointOf(resp.Header)}, nil
}

func (l etcdLeases) Revision(ctx context.Context, key string) (point, error) {
	resp, err := l.client.Get(ctx, key, clientv3.WithKeysOnly())
	if err != nil {
		return point{}, err
	}
	return pointOf(resp.Header), nil
}

func (l etcdLeases) Revoke(ctx context.Context, id clientv3.LeaseID) error {
	_, err := l.rpc.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: int64(id)})
	if err = rpctypes.Error(err); errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return nil
	}
	return err
}

func (l etcdLeases) Record(ctx context.Context, id clientv3.LeaseID, key, value string) (point, error) {
	resp, err := l.client.Put(ctx, key, value, clientv3.WithLease(id))
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return point{}, ErrRevoked
	}
	if err != nil {
		return point{}, err
	}
	return pointOf(resp.Header), nil
}
