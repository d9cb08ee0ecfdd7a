package session_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"
	"google.golang.org/grpc"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

// counting is a client of the shared server that counts its requests and streams.
func counting(t *testing.T) (*clientv3.Client, *atomic.Int64) {
	t.Helper()
	var n atomic.Int64
	client := etcdtest.Shared(t).Client(t, func(cfg *clientv3.Config) {
		cfg.DialOptions = append(cfg.DialOptions,
			grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
				n.Add(1)
				return invoke(ctx, method, req, reply, cc, opts...)
			}),
			grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, stream grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
				n.Add(1)
				return stream(ctx, desc, cc, method, opts...)
			}))
	})
	return client, &n
}

func TestOpenCostsTwoRequests(t *testing.T) {
	client, n := counting(t)
	open(t, client)
	if got := n.Load(); got != 2 {
		t.Errorf("%d requests, want the grant and the record", got)
	}
}

func TestInvalidOptionIsAnErrorBeforeAnyRequest(t *testing.T) {
	client, n := counting(t)
	for name, c := range map[string]struct {
		opt  session.Option
		is   error
		says string
	}{
		"no TTL":              {session.WithTTL(0), session.ErrInvalidTTL, "0s: it is under 2s"},
		"negative TTL":        {session.WithTTL(-time.Second), session.ErrInvalidTTL, "-1s: it is under 2s"},
		"short TTL":           {session.WithTTL(1500 * time.Millisecond), session.ErrInvalidTTL, "1.5s: it is under 2s"},
		"uneven TTL":          {session.WithTTL(2500 * time.Millisecond), session.ErrInvalidTTL, "2.5s: it is not in whole seconds"},
		"long TTL":            {session.WithTTL(48 * time.Hour), session.ErrInvalidTTL, "48h0m0s: it is over 24h"},
		"no namespace":        {session.WithNamespace(""), nil, `namespace ""`},
		"long namespace":      {session.WithNamespace(strings.Repeat("x", 600)), nil, "1 to 512 bytes"},
		"namespace not UTF-8": {session.WithNamespace("\xff"), nil, "UTF-8"},
	} {
		_, err := session.Open(t.Context(), client, c.opt)
		mustSay(t, err, "session: ", c.says)
		if c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := n.Load(); got != 0 {
		t.Errorf("%d requests", got)
	}
}

func TestClientThatCannotServeIsAnErrorBeforeAnyRequest(t *testing.T) {
	_, err := session.Open(t.Context(), nil)
	mustSay(t, err, "client is nil")
	_, err = session.Open(t.Context(), clientv3.NewCtxClient(t.Context()))
	mustSay(t, err, "no connection")
	wraps := map[string]func(*clientv3.Client){
		"KV":      func(c *clientv3.Client) { c.KV = namespace.NewKV(c.KV, "p/") },
		"Watcher": func(c *clientv3.Client) { c.Watcher = namespace.NewWatcher(c.Watcher, "p/") },
		"Lease":   func(c *clientv3.Client) { c.Lease = namespace.NewLease(c.Lease, "p/") },
	}
	for part, wrap := range wraps {
		client, n := counting(t)
		wrap(client)
		_, err := session.Open(t.Context(), client)
		mustSay(t, err, "clientv3/namespace", "WithNamespace")
		if n.Load() != 0 {
			t.Errorf("%s: %d requests", part, n.Load())
		}
	}
}

func TestOpenWithAnEndedCtxAsksNothing(t *testing.T) {
	client, n := counting(t)
	cause := errors.New("changed my mind")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := session.Open(ctx, client); !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
	if got := n.Load(); got != 0 {
		t.Errorf("%d requests", got)
	}
}
