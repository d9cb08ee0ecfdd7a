package keeper

import (
	"context"
	"errors"
	"io"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
)

// leases is what a keeper asks of etcd.
type leases interface {
	// Grant creates the lease, or finds that an earlier attempt has, and answers the TTL that etcd gave it.
	Grant(ctx context.Context, id clientv3.LeaseID, ttl time.Duration) (time.Duration, error)
	// Renew answers ErrRevoked when there is no such lease.
	Renew(ctx context.Context, id clientv3.LeaseID) (time.Duration, error)
	Revoke(ctx context.Context, id clientv3.LeaseID) error
	// Record writes who the session is, under the lease, and answers the revision of that.
	Record(ctx context.Context, id clientv3.LeaseID, key, value string) (int64, error)
}

// etcdLeases speaks to etcd below clientv3.Lease, for two reasons: a Grant with an ID of our own choice can be
// repeated without leaking a second lease, and a failed call must come back with its reason instead of being retried
// until the context ends.
type etcdLeases struct {
	client *clientv3.Client
	conn   *grpc.ClientConn
	rpc    pb.LeaseClient
}

func newEtcdLeases(client *clientv3.Client) etcdLeases {
	conn := client.ActiveConnection()
	return etcdLeases{client, conn, pb.NewLeaseClient(conn)}
}

func (l etcdLeases) Grant(ctx context.Context, id clientv3.LeaseID, ttl time.Duration) (time.Duration, error) {
	defer l.reconnect()
	resp, err := l.rpc.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: int64(id), TTL: int64(ttl / time.Second)})
	if errors.Is(rpctypes.Error(err), rpctypes.ErrLeaseExist) {
		// An earlier attempt got through without its answer. How much of it is left only a renewal tells.
		return l.Renew(ctx, id)
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

// Renew opens a stream for this one question, so that its answer can belong to no other.
func (l etcdLeases) Renew(ctx context.Context, id clientv3.LeaseID) (time.Duration, error) {
	defer l.reconnect()
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	stream, err := l.rpc.LeaseKeepAlive(ctx)
	if err != nil {
		return 0, rpctypes.Error(err)
	}
	if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(id)}); err != nil && !errors.Is(err, io.EOF) {
		return 0, rpctypes.Error(err)
	}
	resp, err := stream.Recv() // after io.EOF on Send, the reason is here
	if err != nil {
		if errors.Is(rpctypes.Error(err), rpctypes.ErrLeaseNotFound) {
			return 0, ErrRevoked
		}
		return 0, rpctypes.Error(err)
	}
	if resp.TTL <= 0 {
		return 0, ErrRevoked
	}
	return time.Duration(resp.TTL) * time.Second, nil
}

func (l etcdLeases) Revoke(ctx context.Context, id clientv3.LeaseID) error {
	_, err := l.rpc.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: int64(id)})
	if err = rpctypes.Error(err); errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return nil
	}
	return err
}

func (l etcdLeases) Record(ctx context.Context, id clientv3.LeaseID, key, value string) (int64, error) {
	resp, err := l.client.Put(ctx, key, value, clientv3.WithLease(id))
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return 0, ErrRevoked
	}
	if err != nil {
		return 0, err
	}
	return resp.Header.Revision, nil
}
