package etcdtest

import (
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

func newClient(t testing.TB, endpoints []string, configure ...func(*clientv3.Config)) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientConfig(endpoints, configure...))
	if err != nil {
		t.Fatalf("etcdtest: client of %v: %v", endpoints, err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// clientConfig is silent, and reconnects fast: gRPC would wait a second before the second attempt, then longer
// and longer.
func clientConfig(endpoints []string, configure ...func(*clientv3.Config)) clientv3.Config {
	cfg := clientv3.Config{
		Endpoints: endpoints,
		Logger:    zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.5, Jitter: 0.2, MaxDelay: 200 * time.Millisecond},
			MinConnectTimeout: time.Second,
		})},
	}
	for _, f := range configure {
		f(&cfg)
	}
	return cfg
}
