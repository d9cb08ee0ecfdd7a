package proxytest

import (
	"context"
	"net"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/proxy/grpcproxy"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

// proxy is a proxy in front of a member, as `etcd grpc-proxy start` makes it.
type proxy struct{ endpoint string }

func startProxy(t *testing.T, m *etcdtest.Member) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, lg := m.Client(t), zap.NewNop()
	ctx, cancel := context.WithCancel(context.Background())
	kv, kvDone := grpcproxy.NewKvProxy(c)
	watch, watchDone := grpcproxy.NewWatchProxy(ctx, lg, c)
	lease, leaseDone := grpcproxy.NewLeaseProxy(ctx, c)
	srv := grpc.NewServer()
	pb.RegisterKVServer(srv, kv)
	pb.RegisterWatchServer(srv, watch)
	pb.RegisterLeaseServer(srv, lease)
	pb.RegisterAuthServer(srv, grpcproxy.NewAuthProxy(c))
	pb.RegisterMaintenanceServer(srv, grpcproxy.NewMaintenanceProxy(c))
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(l) // ends with Stop
	}()
	t.Cleanup(func() {
		srv.Stop()
		<-served
		cancel()
		<-watchDone
		<-leaseDone
		<-kvDone
	})
	return &proxy{"http://" + l.Addr().String()}
}

func (p *proxy) client(t *testing.T, m *etcdtest.Member) *clientv3.Client {
	return m.Client(t, func(cfg *clientv3.Config) { cfg.Endpoints = []string{p.endpoint} })
}

func open(t *testing.T, client *clientv3.Client, opts ...session.Option) *session.Session {
	t.Helper()
	s, err := session.Open(t.Context(), client, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}
