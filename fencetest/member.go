package fencetest

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// member is one of the cluster. The state is the cluster's: what a member lacks while it lags is what came after applied.
type member struct {
	etcd     *Etcd
	index    int
	server   *grpc.Server
	listener *listener
	serving  sync.WaitGroup

	// With the Etcd's mutex.
	applied int64
	lagging bool
	down    bool
	streams []*watchStream
}

const (
	maxRequest  = 1536 * 1024 // bytes; etcd's default
	grpcReserve = 512 * 1024

	// noLeaderTimeout is how long etcd waits for a quorum before it gives up on a request: five seconds and two elections.
	noLeaderTimeout = 7 * time.Second
)

func newMember(e *Etcd, index int) *member {
	m := &member{etcd: e, index: index, applied: e.store.Revision()}
	m.listener = newListener(address(fmt.Sprintf("member-%d:2379", index+1)))
	m.server = grpc.NewServer(grpc.NumStreamWorkers(8), grpc.UnaryInterceptor(m.unary), grpc.MaxRecvMsgSize(maxRequest+grpcReserve), grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.MaxConcurrentStreams(math.MaxUint32))
	pb.RegisterKVServer(m.server, kvServer{member: m})
	pb.RegisterLeaseServer(m.server, leaseServer{member: m})
	pb.RegisterWatchServer(m.server, watchServer{member: m})
	pb.RegisterAuthServer(m.server, authServer{member: m})
	pb.RegisterMaintenanceServer(m.server, maintenanceServer{member: m})
	pb.RegisterClusterServer(m.server, clusterServer{member: m})
	m.serving.Go(func() { _ = m.server.Serve(m.listener) }) // until Stop, which is its error
	return m
}

func (m *member) endpoint() string { return "http://" + string(m.listener.addr) }

func (m *member) id() uint64 { return 0xa11ce00 + uint64(m.index) }

func (m *member) isDown() bool {
	m.etcd.mu.Lock()
	defer m.etcd.mu.Unlock()
	return m.down
}

// quorum waits until there is one, and this member has applied all that it knows of. It is called with the mutex held.
func (m *member) quorum(ctx context.Context) error {
	if !m.etcd.leaderless {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, noLeaderTimeout, rpctypes.ErrGRPCTimeoutDueToLeaderFail)
	defer cancel()
	if m.etcd.wait(ctx, func() bool { return !m.etcd.leaderless }) != nil {
		return context.Cause(ctx)
	}
	return nil
}

// caughtUp waits until the member has applied what there is now.
func (m *member) caughtUp(ctx context.Context) error {
	return m.etcd.wait(ctx, func() bool { return !m.lagging })
}

func (m *member) fill(h *pb.ResponseHeader) {
	h.ClusterId, h.MemberId, h.RaftTerm = m.etcd.cluster, m.id(), m.etcd.term
	if h.Revision == 0 {
		h.Revision = m.applied
	}
}

// nodeOf is who asks.
func nodeOf(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr.String()
	}
	return ""
}

// user is who has logged in; empty if nobody has.
func (m *member) user(ctx context.Context) (string, error) {
	if !m.etcd.store.AuthEnabled() {
		return "", nil
	}
	md, _ := metadata.FromIncomingContext(ctx)
	for _, token := range append(md.Get("token"), md.Get("authorization")...) {
		name, ok := m.etcd.tokens[token]
		if !ok {
			return "", rpctypes.ErrGRPCInvalidAuthToken
		}
		return name, nil
	}
	return "", nil
}
