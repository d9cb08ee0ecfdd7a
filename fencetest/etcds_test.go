package fencetest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/client/v3/naming/endpoints"

	"github.com/fenceline/fenceline/fencetest"
)

// etcd's own packages are programs like any other.

func theirSession(t *testing.T, etcd *fencetest.Etcd) *concurrency.Session {
	t.Helper()
	s, err := concurrency.NewSession(etcd.Client(t), concurrency.WithTTL(10))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func bubble(t *testing.T, f func(t *testing.T, etcd *fencetest.Etcd)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, fencetest.Start(t)) })
}

func TestEtcdsSessionLivesAndEnds(t *testing.T) {
	bubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		s := theirSession(t, etcd)
		time.Sleep(time.Hour)
		select {
		case <-s.Done():
			t.Fatal("it ended by itself")
		default:
		}
		etcd.Expire(s.Lease())
		<-s.Done()
	})
}

func TestEtcdsMutexWorks(t *testing.T) {
	bubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		one, two := theirSession(t, etcd), theirSession(t, etcd)
		first, second := concurrency.NewMutex(one, "m"), concurrency.NewMutex(two, "m")
		if err := first.Lock(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := second.TryLock(t.Context()); !errors.Is(err, concurrency.ErrLocked) {
			t.Fatal(err)
		}
		got := make(chan error, 1)
		go func() { got <- second.Lock(t.Context()) }()
		synctest.Wait()
		select {
		case err := <-got:
			t.Fatalf("both hold it: %v", err)
		default:
		}
		etcd.Expire(one.Lease())
		if err := <-got; err != nil {
			t.Fatal(err)
		}
		if err := second.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestEtcdsElectionWorks(t *testing.T) {
	bubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		one, two := theirSession(t, etcd), theirSession(t, etcd)
		first, second := concurrency.NewElection(one, "e"), concurrency.NewElection(two, "e")
		if err := first.Campaign(t.Context(), "one"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		seen := second.Observe(ctx)
		if resp := <-seen; string(resp.Kvs[0].Value) != "one" {
			t.Errorf("%s leads", resp.Kvs[0].Value)
		}
		got := make(chan error, 1)
		go func() { got <- second.Campaign(t.Context(), "two") }()
		synctest.Wait()
		if err := first.Resign(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-got; err != nil {
			t.Fatal(err)
		}
		if resp := <-seen; string(resp.Kvs[0].Value) != "two" {
			t.Errorf("%s leads", resp.Kvs[0].Value)
		}
	})
}

func TestEtcdsTransactionalMemoryWorks(t *testing.T) {
	bubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		client := etcd.Client(t)
		done := make(chan error, 10)
		for range 10 {
			go func() {
				_, err := concurrency.NewSTM(client, func(stm concurrency.STM) error {
					stm.Put("n", stm.Get("n")+"x")
					return nil
				})
				done <- err
			}()
		}
		for range 10 {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		if v, _ := etcd.Get("n"); v != "xxxxxxxxxx" {
			t.Errorf("%q", v)
		}
	})
}

func TestEtcdsNamingWorks(t *testing.T) {
	bubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		client := etcd.Client(t)
		m, err := endpoints.NewManager(client, "services/web")
		if err != nil {
			t.Fatal(err)
		}
		updates, err := m.NewWatchChannel(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		lease, err := client.Grant(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.AddEndpoint(t.Context(), "services/web/a", endpoints.Endpoint{Addr: "10.0.0.1:80"}, clientv3.WithLease(lease.ID)); err != nil {
			t.Fatal(err)
		}
		if u := <-updates; len(u) != 1 || u[0].Op != endpoints.Add || u[0].Endpoint.Addr != "10.0.0.1:80" {
			t.Errorf("%v", u)
		}
		began := time.Now()
		if u := <-updates; len(u) != 1 || u[0].Op != endpoints.Delete { // nobody renews it
			t.Errorf("%v", u)
		}
		if d := time.Since(began); d < 10*time.Second || d > 11*time.Second {
			t.Errorf("its lease of 10 s ended after %v", d)
		}
	})
}
