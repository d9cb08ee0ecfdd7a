package etcdtest

import (
	"context"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func put(ctx context.Context, c *clientv3.Client, key string) error {
	_, err := c.Put(ctx, key, "value")
	return err
}

func mustPut(t *testing.T, c *clientv3.Client, key string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), requestTimeout)
	defer cancel()
	if err := put(ctx, c, key); err != nil {
		t.Fatal(err)
	}
}

// unanswered runs f with little time, and fails the test if that suffices.
func unanswered(t *testing.T, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := f(ctx); err == nil {
		t.Fatal("answered")
	}
}

func TestRestartKeepsEndpointAndData(t *testing.T) {
	m := Start(t)
	endpoint, client := m.Endpoint(), m.Client(t)
	mustPut(t, client, "kept")
	for range 3 {
		m.Restart(t)
	}
	if m.Endpoint() != endpoint {
		t.Errorf("was at %s, is at %s", endpoint, m.Endpoint())
	}
	if keys := Keys(t, client, "kept"); len(keys) != 1 {
		t.Errorf("keys: %q", keys)
	}
}

func TestKilledServerAnswersNobody(t *testing.T) {
	m := Start(t)
	client := m.Client(t)
	mustPut(t, client, "a")
	m.Kill()
	m.Kill()
	unanswered(t, func(ctx context.Context) error { return put(ctx, client, "b") })
}

func TestStoppedServerAnswersWhenContinued(t *testing.T) {
	m := Start(t)
	client := m.Client(t)
	mustPut(t, client, "a")
	m.Stop(t)
	unanswered(t, func(ctx context.Context) error { return put(ctx, client, "b") })
	m.Continue(t)
	mustPut(t, client, "c")
}

func TestStoppedServerCanBeRestarted(t *testing.T) {
	m := Start(t)
	m.Stop(t)
	m.Restart(t)
	mustPut(t, m.Client(t), "a")
}

func TestClusterOutlivesItsLeader(t *testing.T) {
	c := StartCluster(t, 3)
	client := c.Client(t)
	mustPut(t, client, "before")
	old := c.Leader(t)
	old.Kill()
	if leader := c.Leader(t); leader == old {
		t.Error("a dead member leads")
	}
	mustPut(t, client, "after")
	old.Restart(t)
	if keys := Keys(t, old.Client(t), ""); len(keys) != 2 {
		t.Errorf("the restarted member knows %q", keys)
	}
}

func TestClientVerifiesServerWithTLS(t *testing.T) {
	m := Start(t, WithTLS())
	mustPut(t, m.Client(t), "a")
	mustPut(t, NewProxy(t, m).Client(t), "b")
	unverified := m.Client(t, func(cfg *clientv3.Config) { cfg.TLS = nil })
	unanswered(t, func(ctx context.Context) error { return put(ctx, unverified, "c") })
}

func TestSharedIsOneServer(t *testing.T) {
	if a, b := Shared(t).Endpoint(), Shared(t).Endpoint(); a != b {
		t.Errorf("%s and %s", a, b)
	}
	if a, b := Name(t), Name(t); a == b {
		t.Errorf("twice the name %q", a)
	}
}

func TestKeysAreInOrderOfCreation(t *testing.T) {
	client, prefix := Shared(t).Client(t), Name(t)+"/"
	mustPut(t, client, prefix+"b")
	mustPut(t, client, prefix+"a")
	mustPut(t, client, prefix+"b")
	if keys := Keys(t, client, prefix); len(keys) != 2 || keys[0] != prefix+"b" {
		t.Errorf("keys: %q", keys)
	}
}

func TestCompactEndsOldWatches(t *testing.T) {
	client, name := Shared(t).Client(t), Name(t)
	mustPut(t, client, name)
	mustPut(t, client, name)
	Compact(t, client)
	Compact(t, client)
	answer := <-client.Watch(t.Context(), name, clientv3.WithRev(1))
	if answer.CompactRevision == 0 {
		t.Errorf("got %+v", answer)
	}
}
