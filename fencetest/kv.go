package fencetest

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/protobuf/proto"

	"github.com/fenceline/fenceline/fencetest/internal/store"
)

type kvServer struct {
	pb.UnimplementedKVServer
	*member
}

// propose does f when there is a quorum, and returns when this member has it as well.
func (m *member) propose(ctx context.Context, r proto.Message, f func(user string) (*pb.ResponseHeader, error)) error {
	m.etcd.mu.Lock()
	defer m.etcd.mu.Unlock()
	user, err := m.user(ctx)
	if err != nil {
		return err
	}
	if proto.Size(r) > maxRequest {
		return rpctypes.ErrGRPCRequestTooLarge
	}
	if err := m.quorum(ctx); err != nil {
		return err
	}
	h, err := f(user)
	if err != nil {
		return err
	}
	m.etcd.committed()
	if err := m.caughtUp(ctx); err != nil {
		return err
	}
	m.fill(h)
	return nil
}

// read does f as of the revision that the answer is due: the cluster's, or the member's if that will do.
func (m *member) read(ctx context.Context, serializable bool, f func(user string, upTo int64) (*pb.ResponseHeader, error)) error {
	m.etcd.mu.Lock()
	defer m.etcd.mu.Unlock()
	user, err := m.user(ctx)
	if err != nil {
		return err
	}
	if !serializable {
		if err := m.quorum(ctx); err != nil {
			return err
		}
		if err := m.caughtUp(ctx); err != nil {
			return err
		}
	}
	h, err := f(user, m.applied)
	if err != nil {
		return err
	}
	m.fill(h)
	return nil
}

func (s kvServer) Range(ctx context.Context, r *pb.RangeRequest) (resp *pb.RangeResponse, err error) {
	if err := store.CheckRange(r); err != nil {
		return nil, err
	}
	err = s.read(ctx, r.Serializable, func(user string, upTo int64) (*pb.ResponseHeader, error) {
		if err = s.etcd.store.May(user, false, r.Key, r.RangeEnd); err != nil {
			return nil, err
		}
		resp, err = s.etcd.store.Range(r, upTo)
		return resp.GetHeader(), err
	})
	return resp, err
}

func (s kvServer) Put(ctx context.Context, r *pb.PutRequest) (resp *pb.PutResponse, err error) {
	if err := store.CheckPut(r); err != nil {
		return nil, err
	}
	err = s.propose(ctx, r, func(user string) (*pb.ResponseHeader, error) {
		if err = s.etcd.store.MayPut(user, r); err != nil {
			return nil, err
		}
		resp, err = s.etcd.store.Put(r)
		return resp.GetHeader(), err
	})
	return resp, err
}

func (s kvServer) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest) (resp *pb.DeleteRangeResponse, err error) {
	if len(r.Key) == 0 {
		return nil, rpctypes.ErrGRPCEmptyKey
	}
	err = s.propose(ctx, r, func(user string) (*pb.ResponseHeader, error) {
		if err = s.etcd.store.MayDelete(user, r); err != nil {
			return nil, err
		}
		resp, err = s.etcd.store.DeleteRange(r)
		return resp.GetHeader(), err
	})
	return resp, err
}

func (s kvServer) Txn(ctx context.Context, r *pb.TxnRequest) (resp *pb.TxnResponse, err error) {
	if err := store.CheckTxn(r); err != nil {
		return nil, err
	}
	if store.IsRead(r) {
		err = s.read(ctx, store.IsSerializable(r), func(user string, upTo int64) (*pb.ResponseHeader, error) {
			if err = s.etcd.store.MayTxn(user, r); err != nil {
				return nil, err
			}
			resp, err = s.etcd.store.ReadTxn(r, upTo)
			return resp.GetHeader(), err
		})
		return resp, err
	}
	err = s.propose(ctx, r, func(user string) (*pb.ResponseHeader, error) {
		if err = s.etcd.store.MayTxn(user, r); err != nil {
			return nil, err
		}
		resp, err = s.etcd.store.Txn(r)
		return resp.GetHeader(), err
	})
	return resp, err
}

func (s kvServer) Compact(ctx context.Context, r *pb.CompactionRequest) (resp *pb.CompactionResponse, err error) {
	err = s.propose(ctx, r, func(user string) (*pb.ResponseHeader, error) {
		if err = s.etcd.store.Admin(user); err != nil {
			return nil, err
		}
		resp, err = s.etcd.store.Compact(r.Revision)
		return resp.GetHeader(), err
	})
	return resp, err
}
