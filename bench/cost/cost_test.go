package cost_test

import (
	"testing"

	"github.com/fenceline/fenceline/bench/cost"
	"github.com/fenceline/fenceline/internal/etcdtest"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestEachRequestCountsOnceAsWhatItCostsEtcd(t *testing.T) {
	var meter cost.Meter
	c := etcdtest.Shared(t).Client(t, func(cfg *clientv3.Config) {
		cfg.DialOptions = append(cfg.DialOptions, meter.DialOption())
	})
	key := etcdtest.Name(t)
	ctx := t.Context()
	put, get := clientv3.OpPut(key, ""), clientv3.OpGet(key)
	local := clientv3.OpGet(key, clientv3.WithSerializable())
	var lease clientv3.LeaseID
	watch, created := clientv3.WatchChan(nil), false

	for _, step := range []struct {
		what string
		do   func() error
		want cost.Count
	}{
		{"put", func() error { _, err := c.Put(ctx, key, ""); return err }, cost.Count{Proposals: 1}},
		{"delete", func() error { _, err := c.Delete(ctx, key); return err }, cost.Count{Proposals: 1}},
		{"read", func() error { _, err := c.Get(ctx, key); return err }, cost.Count{Linearizable: 1}},
		{"serializable read", func() error { _, err := c.Do(ctx, local); return err }, cost.Count{Serializable: 1}},
		{"writing transaction", func() error { _, err := c.Txn(ctx).Then(get, put).Commit(); return err }, cost.Count{Proposals: 1}},
		{"transaction that would write in the other branch", func() error { _, err := c.Txn(ctx).Then(get).Else(put).Commit(); return err }, cost.Count{Proposals: 1}},
		{"reading transaction", func() error { _, err := c.Txn(ctx).Then(local, get).Commit(); return err }, cost.Count{Linearizable: 1}},
		{"serializable transaction", func() error { _, err := c.Txn(ctx).Then(local).Else(local).Commit(); return err }, cost.Count{Serializable: 1}},
		{"grant", func() error { r, err := c.Grant(ctx, 60); lease = r.ID; return err }, cost.Count{Proposals: 1}},
		{"renewal", func() error { _, err := c.KeepAliveOnce(ctx, lease); return err }, cost.Count{Renewals: 1}},
		{"watch", func() error {
			watch = c.Watch(ctx, key, clientv3.WithCreatedNotify())
			created = (<-watch).Created
			return nil
		}, cost.Count{Watches: 1}},
		{"event", func() error { _, err := c.Put(ctx, key, ""); <-watch; return err }, cost.Count{Proposals: 1, Events: 1}},
		{"revoke", func() error { _, err := c.Revoke(ctx, lease); return err }, cost.Count{Proposals: 1}},
		{"status", func() error { _, err := c.Status(ctx, c.Endpoints()[0]); return err }, cost.Count{Other: 1}},
	} {
		before := meter.Count()
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		got := meter.Count().Sub(before)
		if got.Sent+got.Received == 0 {
			t.Errorf("%s: no bytes", step.what)
		}
		got.Sent, got.Received = 0, 0
		if got != step.want {
			t.Errorf("%s: got %+v, want %+v", step.what, got, step.want)
		}
	}
	if !created {
		t.Error("the watch was not created")
	}
}
