package etcdtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const requestTimeout = 10 * time.Second

// Keys returns the keys under prefix, oldest first: the order of a line.
func Keys(t testing.TB, client *clientv3.Client, prefix string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	resp, err := client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly(),
		clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
	if err != nil {
		t.Fatalf("etcdtest: keys under %q: %v", prefix, err)
	}
	keys := make([]string, len(resp.Kvs))
	for i, kv := range resp.Kvs {
		keys[i] = string(kv.Key)
	}
	return keys
}

// Leases returns the leases that live in etcd, in no order.
func Leases(t testing.TB, client *clientv3.Client) []clientv3.LeaseID {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	resp, err := client.Leases(ctx)
	if err != nil {
		t.Fatalf("etcdtest: leases: %v", err)
	}
	leases := make([]clientv3.LeaseID, len(resp.Leases))
	for i, l := range resp.Leases {
		leases[i] = l.ID
	}
	return leases
}

// Compact forgets all history: watches that start before the present revision end with ErrCompacted.
func Compact(t testing.TB, client *clientv3.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	resp, err := client.Get(ctx, "any", clientv3.WithCountOnly())
	if err == nil {
		_, err = client.Compact(ctx, resp.Header.Revision)
	}
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) { // twice at one revision
		t.Fatalf("etcdtest: compact: %v", err)
	}
}

// Eventually polls until holds does, and fails the test if it does not within that time.
func Eventually(t testing.TB, within time.Duration, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}
