package registry

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func opened(t *testing.T, client *clientv3.Client, opts ...session.Option) *session.Session {
	t.Helper()
	s, err := session.Open(t.Context(), client, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func short(t *testing.T, client *clientv3.Client) *session.Session {
	return opened(t, client, session.WithTTL(2*time.Second))
}

// service is a name of the test's own.
func service(t *testing.T) string { return strings.ReplaceAll(etcdtest.Name(t), "/", "-") }

func registered(t *testing.T, s *session.Session, service string, in Instance, opts ...Option) *Registration {
	t.Helper()
	r, err := Register(t.Context(), s, service, in, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func read(t *testing.T, client *clientv3.Client, key string) *mvccpb.KeyValue {
	t.Helper()
	resp, err := client.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.Kvs) == 0 {
		return nil
	}
	return resp.Kvs[0]
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	etcdtest.Eventually(t, 20*time.Second, what, holds)
}

// events are those of a key from now on.
func events(t *testing.T, client *clientv3.Client, key string) <-chan *clientv3.Event {
	t.Helper()
	out := make(chan *clientv3.Event, 1000)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	t.Cleanup(func() { cancel(); <-done })
	ready := make(chan struct{})
	go func() {
		defer close(done)
		for resp := range client.Watch(ctx, key, clientv3.WithPrefix(), clientv3.WithCreatedNotify()) {
			if resp.Created {
				close(ready)
			}
			for _, ev := range resp.Events {
				out <- ev
			}
		}
	}()
	<-ready
	return out
}
