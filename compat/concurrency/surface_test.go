package concurrency_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	theirs "go.etcd.io/etcd/client/v3/concurrency"

	ours "github.com/fenceline/fenceline/compat/concurrency"
)

// What etcd's types can do, ours can: the compiler checks both.
type (
	sessionFace interface {
		Client() *clientv3.Client
		Lease() clientv3.LeaseID
		Ctx() context.Context
		Done() <-chan struct{}
		Orphan()
		Close() error
	}
	mutexFace interface {
		TryLock(ctx context.Context) error
		Lock(ctx context.Context) error
		Unlock(ctx context.Context) error
		IsOwner() clientv3.Cmp
		Key() string
		Header() *pb.ResponseHeader
	}
	electionFace interface {
		Campaign(ctx context.Context, val string) error
		Proclaim(ctx context.Context, val string) error
		Resign(ctx context.Context) error
		Leader(ctx context.Context) (*clientv3.GetResponse, error)
		Observe(ctx context.Context) <-chan *clientv3.GetResponse
		Key() string
		Rev() int64
		Header() *pb.ResponseHeader
	}
)

var (
	_, _ sessionFace  = (*theirs.Session)(nil), (*ours.Session)(nil)
	_, _ mutexFace    = (*theirs.Mutex)(nil), (*ours.Mutex)(nil)
	_, _ electionFace = (*theirs.Election)(nil), (*ours.Election)(nil)

	_ func(*clientv3.Client, ...theirs.SessionOption) (*theirs.Session, error) = theirs.NewSession
	_ func(*clientv3.Client, ...ours.SessionOption) (*ours.Session, error)     = ours.NewSession
	_ func(*theirs.Session, string) *theirs.Mutex                              = theirs.NewMutex
	_ func(*ours.Session, string) *ours.Mutex                                  = ours.NewMutex
	_ func(*theirs.Session, string) sync.Locker                                = theirs.NewLocker
	_ func(*ours.Session, string) sync.Locker                                  = ours.NewLocker
	_ func(*theirs.Session, string) *theirs.Election                           = theirs.NewElection
	_ func(*ours.Session, string) *ours.Election                               = ours.NewElection
	_ func(*theirs.Session, string, string, int64) *theirs.Election            = theirs.ResumeElection
	_ func(*ours.Session, string, string, int64) *ours.Election                = ours.ResumeElection

	_, _ = []theirs.SessionOption{theirs.WithTTL(1), theirs.WithLease(1), theirs.WithContext(nil)},
		[]ours.SessionOption{ours.WithTTL(1), ours.WithLease(1), ours.WithContext(nil)}

	stm = func(ours.STM) error { return nil }
	_   = func(c *clientv3.Client) (*clientv3.TxnResponse, error) {
		return ours.NewSTM(c, stm, ours.WithIsolation(ours.RepeatableReads), ours.WithPrefetch("a"), ours.WithAbortContext(nil))
	}
)

func TestErrorsAreThoseOfEtcdsPackage(t *testing.T) {
	for _, pair := range [][2]error{{ours.ErrLocked, theirs.ErrLocked}, {ours.ErrSessionExpired, theirs.ErrSessionExpired}, {ours.ErrLockReleased, theirs.ErrLockReleased},
		{ours.ErrElectionNotLeader, theirs.ErrElectionNotLeader}, {ours.ErrElectionNoLeader, theirs.ErrElectionNoLeader}} {
		if !errors.Is(pair[0], pair[1]) {
			t.Errorf("%v is not %v", pair[0], pair[1])
		}
	}
}
