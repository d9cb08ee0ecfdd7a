package keeper

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/etcdtest"
)

func randomID() clientv3.LeaseID { return clientv3.LeaseID(rand.Int64N(1<<62) + 1) }

func TestGrantAgainIsTheSameLeaseRenewed(t *testing.T) {
	client := etcdtest.Start(t).Client(t)
	l, id := newEtcdLeases(client), randomID()
	for range 3 {
		if ttl, err := l.Grant(t.Context(), id, 10*time.Second); err != nil || ttl != 10*time.Second {
			t.Fatalf("%v, %v", ttl, err)
		}
	}
	if leases := etcdtest.Leases(t, client); len(leases) != 1 || leases[0] != id {
		t.Errorf("leases %x, want %x", leases, id)
	}
}

func TestMissingLeaseIsErrRevokedAndNothingToRevoke(t *testing.T) {
	l, id, key := newEtcdLeases(etcdtest.Shared(t).Client(t)), randomID(), etcdtest.Name(t)
	if _, err := l.Renew(t.Context(), id); err != ErrRevoked {
		t.Errorf("Renew: %v", err)
	}
	if _, err := l.Record(t.Context(), id, key, ""); err != ErrRevoked {
		t.Errorf("Record: %v", err)
	}
	if err := l.Revoke(t.Context(), id); err != nil {
		t.Errorf("Revoke: %v", err)
	}
}

// requests of a lease, one of each kind.
func requestsOf(l etcdLeases, id clientv3.LeaseID) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		grants:  func(ctx context.Context) error { _, err := l.Grant(ctx, id, 10*time.Second); return err },
		renews:  func(ctx context.Context) error { _, err := l.Renew(ctx, id); return err },
		records: func(ctx context.Context) error { _, err := l.Record(ctx, id, "k", ""); return err },
		revokes: func(ctx context.Context) error { return l.Revoke(ctx, id) },
	}
}

func TestRequestsToAStoppedEtcdEndWithTheirCtx(t *testing.T) {
	m := etcdtest.Start(t)
	client, id := m.Client(t), randomID()
	l := newEtcdLeases(client)
	if _, err := l.Grant(t.Context(), id, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	m.Stop(t)
	for kind, f := range requestsOf(l, id) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		start := time.Now()
		err := f(ctx)
		cancel()
		if took := time.Since(start); err == nil || took > time.Second {
			t.Errorf("%s: %v after %v", kind, err, took)
		}
		if text := etcd.Explain(client, err, "ns/"); !strings.Contains(text.Error(), "no answer") || !errors.Is(text, context.DeadlineExceeded) {
			t.Errorf("%s: %v", kind, text)
		}
	}
}

// The record alone waits for a connection: it follows a grant, which does not.
func TestRequestsToADeadEtcdFailAtOnceWithTheReason(t *testing.T) {
	m := etcdtest.Start(t)
	client, id := m.Client(t), randomID()
	l := newEtcdLeases(client)
	if _, err := l.Grant(t.Context(), id, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	m.Kill()
	requests := requestsOf(l, id)
	delete(requests, records)
	for kind, f := range requests {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		start := time.Now()
		etcdtest.Eventually(t, 5*time.Second, kind+" tells the reason", func() bool {
			text := etcd.Explain(client, f(ctx), "ns/")
			return text != nil && strings.Contains(text.Error(), "connection refused")
		})
		cancel()
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("%s: after %v", kind, took)
		}
	}
}
