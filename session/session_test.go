package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open is a session that closes with the test.
func open(t testing.TB, client *clientv3.Client, opts ...session.Option) *session.Session {
	t.Helper()
	s, err := session.Open(t.Context(), client, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	etcdtest.Eventually(t, 10*time.Second, what, holds)
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// mustSay fails the test unless err says all of it.
func mustSay(t testing.TB, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}

func TestRecordSaysWhoTheSessionIsAndHangsOnItsLease(t *testing.T) {
	client, ns := etcdtest.Shared(t).Client(t), etcdtest.Name(t)+"/"
	labels := map[string]string{"zone": "b"}
	began := time.Now().Add(-time.Millisecond)
	s := open(t, client, session.WithNamespace(ns), session.WithName("indexer"), session.WithLabels(labels))
	resp, err := client.Get(t.Context(), keyspace.Session(ns, s.Lease()))
	if err != nil || len(resp.Kvs) != 1 {
		t.Fatalf("%v, %v", resp, err)
	}
	if got := clientv3.LeaseID(resp.Kvs[0].Lease); got != s.Lease() {
		t.Errorf("the record hangs on lease %x, not on %x", got, s.Lease())
	}
	var r session.Record
	if err := json.Unmarshal(resp.Kvs[0].Value, &r); err != nil {
		t.Fatalf("%s: %v", resp.Kvs[0].Value, err)
	}
	host, _ := os.Hostname()
	if r.Name != "indexer" || r.Host != host || r.PID != os.Getpid() || !reflect.DeepEqual(r.Labels, labels) ||
		r.Started.Before(began) || r.Started.After(time.Now()) {
		t.Errorf("%s", resp.Kvs[0].Value)
	}
}

func TestSessionIsCalledLikeTheProgramByDefault(t *testing.T) {
	client, ns := etcdtest.Shared(t).Client(t), etcdtest.Name(t)+"/"
	open(t, client, session.WithNamespace(ns))
	resp, err := client.Get(t.Context(), ns, clientv3.WithPrefix())
	if err != nil || len(resp.Kvs) != 1 || !strings.Contains(string(resp.Kvs[0].Value), filepath.Base(os.Args[0])) {
		t.Errorf("%v, %v", resp, err)
	}
}

func TestOpenSessionIsLiveAndTellsItsDeadline(t *testing.T) {
	s := open(t, etcdtest.Shared(t).Client(t), session.WithTTL(10*time.Second))
	left := time.Until(s.Deadline())
	if s.State() != session.Live || s.Healthy() != nil || s.Context().Err() != nil || s.Lease() == clientv3.NoLease {
		t.Errorf("%v, %v, %v, %x", s.State(), s.Healthy(), s.Context().Err(), s.Lease())
	}
	if left > 9400*time.Millisecond || left < 5*time.Second {
		t.Errorf("trusted for %v, want a bit less than the TTL", left)
	}
}

func TestCloseLeavesNoLeaseNoKeyAndNoGoroutine(t *testing.T) {
	m, ns := etcdtest.Shared(t), etcdtest.Name(t)+"/"
	client := m.Client(t)
	if _, err := client.Get(t.Context(), "connect"); err != nil {
		t.Fatal(err)
	}
	before := goleak.IgnoreCurrent()
	s := open(t, client, session.WithNamespace(ns))
	lease := s.Lease()
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
	if keys := etcdtest.Keys(t, client, ns); len(keys) != 0 {
		t.Errorf("keys %q", keys)
	}
	if slices.Contains(etcdtest.Leases(t, client), lease) {
		t.Error("the lease stands")
	}
	if s.State() != session.Closed || s.Lease() != clientv3.NoLease || !s.Deadline().IsZero() ||
		s.Healthy() != session.ErrClosed || context.Cause(s.Context()) != session.ErrClosed {
		t.Errorf("%v, %x, %v, %v, %v", s.State(), s.Lease(), s.Deadline(), s.Healthy(), context.Cause(s.Context()))
	}
	if err := s.Close(t.Context()); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestCloseWithAnEndedCtxRevokesAllTheSame(t *testing.T) {
	client := etcdtest.Shared(t).Client(t)
	s := open(t, client)
	lease := s.Lease()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Close(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	eventually(t, "the end of the lease", func() bool { return !slices.Contains(etcdtest.Leases(t, client), lease) })
}

func TestCloseOfAStoppedEtcdReturnsByCtxAndSaysWhatItMeans(t *testing.T) {
	m := etcdtest.Start(t)
	client := m.Client(t)
	if _, err := client.Get(t.Context(), "connect"); err != nil {
		t.Fatal(err)
	}
	before := goleak.IgnoreCurrent()
	s := open(t, client)
	m.Stop(t)
	start := time.Now()
	err := s.Close(within(t, 500*time.Millisecond))
	if took := time.Since(start); took < 400*time.Millisecond || took > 1500*time.Millisecond {
		t.Errorf("returned after %v", took)
	}
	mustSay(t, err, "not revoked", "up to 15s", m.Endpoint())
	if s.State() != session.Closed {
		t.Errorf("%v", s.State())
	}
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
}

func TestCloseAfterTheClientsReturnsAtOnceAndSaysSo(t *testing.T) {
	client := etcdtest.Shared(t).Client(t)
	s := open(t, client, session.WithTTL(2*time.Second))
	client.Close()
	start := time.Now()
	err := s.Close(t.Context())
	mustSay(t, err, "client", "closed")
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %v", took)
	}
}
