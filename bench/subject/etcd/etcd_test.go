package etcd_test

import (
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/subject/etcd"
	"github.com/fenceline/fenceline/internal/etcdtest"
)

func TestTokenOfOneWhoWaitedIsTheCreateRevisionOfItsKey(t *testing.T) {
	server, ctx := etcdtest.Shared(t), t.Context()
	client := server.Client(t)
	place := bench.Place{
		Etcd:   clientv3.Config{Endpoints: []string{server.Endpoint()}, Logger: zap.NewNop()},
		Prefix: etcdtest.Name(t) + "/",
		TTL:    10 * time.Second,
	}
	contender, err := etcd.New().Join(ctx, place)
	if err != nil {
		t.Fatal(err)
	}
	defer contender.Close(ctx)
	turn := &bench.Turn{Units: 1, Names: []int{0}}
	first, second := locker(t, contender), locker(t, contender)
	if err := first.Lock(ctx, turn); err != nil {
		t.Fatal(err)
	}
	inside := make(chan error)
	go func() { inside <- second.Lock(ctx, turn) }()
	etcdtest.Eventually(t, 10*time.Second, "the second one queues", func() bool {
		return len(etcdtest.Keys(t, client, place.Prefix)) == 2
	})
	if err := first.Unlock(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-inside; err != nil {
		t.Fatal(err)
	}
	r, err := client.Get(ctx, place.Prefix, clientv3.WithPrefix())
	if err != nil || len(r.Kvs) != 1 {
		t.Fatalf("%v, %v; want the key of the second one", r, err)
	}
	if want := r.Kvs[0].CreateRevision; second.Token().Revision() != want {
		t.Errorf("token is %v, want %d", second.Token(), want)
	}
}

func locker(t *testing.T, c bench.Contender) bench.Fenced {
	t.Helper()
	l, err := c.Locker(t.Context(), []string{"name"})
	if err != nil {
		t.Fatal(err)
	}
	return l.(bench.Fenced)
}
