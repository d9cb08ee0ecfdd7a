package election_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

func intercepted(i ...grpc.DialOption) func(*clientv3.Config) {
	return func(cfg *clientv3.Config) { cfg.DialOptions = append(cfg.DialOptions, i...) }
}

// A member may lag behind another, from which an earlier watch had its events.
func TestMemberThatIsBehindIsNotBelieved(t *testing.T) {
	server, prefix := etcdtest.Shared(t), etcdtest.Name(t)
	direct, p := server.Client(t), etcdtest.NewProxy(t, server)
	var behind atomic.Pointer[pb.RangeResponse] // what a member answers that is not asked for the quorum's knowledge
	client := p.Client(t, intercepted(grpc.WithChainUnaryInterceptor(
		func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			get, ok := req.(*pb.RangeRequest)
			if old := behind.Load(); ok && get.Serializable && old != nil {
				proto.Merge(reply.(*pb.RangeResponse), old)
				return nil
			}
			err := invoke(ctx, method, req, reply, cc, opts...)
			if ok && err == nil && behind.Load() == nil {
				behind.Store(proto.Clone(reply.(*pb.RangeResponse)).(*pb.RangeResponse))
			}
			return err
		})))
	write(t, direct, prefix+"/a", "before")
	o := observe(t, client, prefix)
	o.want("before")
	write(t, direct, prefix+"/a", "after")
	o.want("after")
	got := o.pulling()
	p.Cut()
	p.Heal()
	etcdtest.Eventually(t, 10*time.Second, "another watch", func() bool {
		write(t, direct, prefix+"/a", "at last") // has its effect once the watch is there
		select {
		case l := <-got:
			if l.Value != "at last" {
				t.Errorf("%+v", l)
			}
			return true
		default:
			return false
		}
	})
}

// What happens between the list and the watch would be missed, if the list came first.
func TestNothingIsMissedWhileAWatchOpens(t *testing.T) {
	server, prefix := etcdtest.Shared(t), etcdtest.Name(t)
	direct := server.Client(t)
	write(t, direct, prefix+"/a", "before")
	listed := make(chan struct{})
	var once sync.Once
	client := server.Client(t, intercepted(
		grpc.WithChainUnaryInterceptor(
			func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
				err := invoke(ctx, method, req, reply, cc, opts...)
				once.Do(func() { close(listed) })
				return err
			}),
		grpc.WithChainStreamInterceptor(
			func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, stream grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
				select {
				case <-listed:
				case <-time.After(100 * time.Millisecond): // the list waits for the watch, as it should
				}
				write(t, direct, prefix+"/a", "after")
				return stream(ctx, desc, cc, method, opts...)
			})))
	start := time.Now()
	observe(t, client, prefix).until("after")
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("it took %v, until a look whether something was missed", took)
	}
}
