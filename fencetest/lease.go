package fencetest

import (
	"context"
	"errors"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/status"

	"github.com/fenceline/fenceline/fencetest/internal/store"
)

type leaseServer struct {
	pb.UnimplementedLeaseServer
	*member
}

func (s leaseServer) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest) (resp *pb.LeaseGrantResponse, err error) {
	err = s.propose(ctx, r, func(user string) (*pb.ResponseHeader, error) {
		e := s.etcd
		if err = e.store.Known(user); err != nil {
			return nil, err
		}
		if r.ID == 0 {
			e.lastLease++
			r.ID = e.lastLease
		}
		resp, err = e.store.Grant(r, e.now())
		return resp.GetHeader(), err
	})
	return resp, err
}

func (s leaseServer) LeaseRevoke(ctx context.Context, r *pb.LeaseRevokeRequest) (resp *pb.LeaseRevokeResponse, err error) {
	err = s.propose(ctx, r, func(user string) (*pb.ResponseHeader, error) {
		if err = s.etcd.store.Known(user); err != nil {
			return nil, err
		}
		if err = s.etcd.store.MayLease(user, true, r.ID); err != nil {
			return nil, err
		}
		resp, err = s.etcd.store.Revoke(r.ID)
		if err == nil {
			s.etcd.signal()
		}
		return resp.GetHeader(), err
	})
	return resp, err
}

func (s leaseServer) LeaseTimeToLive(ctx context.Context, r *pb.LeaseTimeToLiveRequest) (resp *pb.LeaseTimeToLiveResponse, err error) {
	err = s.read(ctx, false, func(user string, _ int64) (*pb.ResponseHeader, error) {
		if err = s.etcd.store.Known(user); err != nil {
			return nil, err
		}
		if r.Keys {
			if err = s.etcd.store.MayLease(user, false, r.ID); err != nil {
				return nil, err
			}
		}
		resp = s.etcd.store.TimeToLive(r, s.etcd.now())
		return resp.Header, nil
	})
	return resp, err
}

func (s leaseServer) LeaseLeases(ctx context.Context, _ *pb.LeaseLeasesRequest) (resp *pb.LeaseLeasesResponse, err error) {
	err = s.read(ctx, true, func(user string, _ int64) (*pb.ResponseHeader, error) {
		if err = s.etcd.store.Known(user); err != nil {
			return nil, err
		}
		resp = &pb.LeaseLeasesResponse{Header: &pb.ResponseHeader{}}
		for _, l := range s.etcd.store.Leases() {
			resp.Leases = append(resp.Leases, &pb.LeaseStatus{ID: l.ID})
		}
		return resp.Header, nil
	})
	return resp, err
}

// LeaseKeepAlive answers one request after the other. Each has a fate of its own.
func (s leaseServer) LeaseKeepAlive(stream pb.Lease_LeaseKeepAliveServer) error {
	ctx := stream.Context()
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		resp, err := s.meet(ctx, "LeaseKeepAlive", r, func(ctx context.Context) (any, error) { return s.renew(ctx, r) })
		if err != nil {
			return err
		}
		if err := stream.Send(resp.(*pb.LeaseKeepAliveResponse)); err != nil {
			return err
		}
	}
}

func (s leaseServer) renew(ctx context.Context, r *pb.LeaseKeepAliveRequest) (*pb.LeaseKeepAliveResponse, error) {
	e := s.etcd
	e.mu.Lock()
	defer e.mu.Unlock()
	user, err := s.user(ctx)
	if err != nil {
		return nil, err
	}
	resp := &pb.LeaseKeepAliveResponse{Header: &pb.ResponseHeader{Revision: s.applied}, ID: r.ID}
	if err := s.quorum(ctx); err != nil {
		return nil, err
	}
	if err := e.store.Known(user); err != nil {
		return nil, err
	}
	if err := e.store.MayLease(user, true, r.ID); err != nil {
		return nil, err
	}
	// One that has run out waits for the scan which revokes it, or for a leader who does not know.
	due := func(l *store.Lease) bool { return l != nil && l.Expiry <= e.now() }
	if err := e.wait(ctx, func() bool { return !due(e.store.Lease(r.ID)) }); err != nil {
		return nil, status.FromContextError(err).Err()
	}
	resp.TTL = e.store.Renew(r.ID, e.now())
	e.scan()
	s.fill(resp.Header)
	return resp, nil
}
