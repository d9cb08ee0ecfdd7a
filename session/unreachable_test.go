package session_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

// unreachable are the ways in which an etcd can be out of reach, and what Open has to say of each beside the endpoint.
func unreachable(t *testing.T) map[string]attempt {
	secure := etcdtest.Start(t, etcdtest.WithTLS())
	plain := etcdtest.Shared(t)
	stopped := etcdtest.Start(t)
	connected := stopped.Client(t)
	if _, err := connected.Get(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	stopped.Stop(t)
	hole := etcdtest.NewProxy(t, plain)
	hole.Blackhole()
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	return map[string]attempt{
		"dead endpoint":          {connect(t, listen(t, nil)), "connection refused"},
		"port of something else": {connect(t, listen(t, func(c net.Conn) { io.WriteString(c, "SSH-2.0-x\r\n"); io.Copy(io.Discard, c) })), "is it an etcd"},
		"port that says nothing": {connect(t, listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })), "no answer"},
		"web server":             {connect(t, web.URL), "is it an etcd"},
		"plaintext against TLS":  {connect(t, strings.Replace(secure.Endpoint(), "https", "http", 1)), "does it want TLS"},
		"TLS against plaintext":  {connect(t, strings.Replace(plain.Endpoint(), "http", "https", 1)), "does it speak TLS"},
		"TLS with another CA":    {secure.Client(t, func(cfg *clientv3.Config) { cfg.TLS = &tls.Config{} }), "certificate"},
		"black hole":             {hole.Client(t), "no answer"},
		"stopped server":         {connected, "no answer"},
	}
}

// attempt is one to open a session.
type attempt struct {
	client *clientv3.Client
	says   string
}

func TestOpenSaysInTimeWhyEtcdCannotBeReached(t *testing.T) {
	t.Parallel()
	var attempts sync.WaitGroup
	defer attempts.Wait()
	for name, a := range unreachable(t) {
		attempts.Go(func() { a.check(t, name, within(t, time.Second), time.Second) })
		attempts.Go(func() { a.check(t, name+", no deadline", context.Background(), 5*time.Second) })
	}
}

func (a attempt) check(t *testing.T, name string, ctx context.Context, bound time.Duration) {
	start := time.Now()
	s, err := session.Open(ctx, a.client)
	took := time.Since(start)
	if err == nil {
		s.Close(ctx)
		t.Errorf("%s: no error", name)
		return
	}
	if took < bound/2 || took > bound+time.Second {
		t.Errorf("%s: after %v, want %v", name, took, bound)
	}
	for _, part := range []string{a.client.Endpoints()[0], a.says} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s: %q does not say %q", name, err, part)
		}
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%s: %q does not tell that the time is over", name, err)
	}
	if n := strings.Count(err.Error(), "deadline exceeded"); n > 1 {
		t.Errorf("%s: %q says so %d times", name, err, n)
	}
}

// listen answers connections by serve, on an endpoint that nobody else has; nil refuses them.
func listen(t *testing.T, serve func(net.Conn)) (endpoint string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if serve == nil {
		l.Close()
		return "http://" + l.Addr().String()
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

// connect is a client as most programs make it.
func connect(t *testing.T, endpoint string) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}
