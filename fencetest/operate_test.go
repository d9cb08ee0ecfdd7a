package fencetest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/fencetest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

func TestRevokeEndsALeaseForItsSessionToo(t *testing.T) {
	bubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		s := etcd.Session(t)
		l, err := lock.New(s, "x").Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		lease := s.Lease()
		etcd.Revoke(lease)
		if slices.Contains(etcd.Leases(), lease) {
			t.Error("it stands")
		}
		for _, kv := range etcd.Keys() {
			if clientv3.LeaseID(kv.Lease) == lease {
				t.Errorf("%s is left", kv.Key)
			}
		}
		<-l.Context().Done()
		if err := context.Cause(l.Context()); !errors.Is(err, session.ErrLost) {
			t.Error(err)
		}
	})
}

func TestCompactForgetsHistoryAndNoKey(t *testing.T) {
	bubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		c := etcd.Client(t)
		for range 3 {
			if _, err := put(c, time.Second); err != nil {
				t.Fatal(err)
			}
		}
		etcd.Compact()
		if _, err := c.Get(t.Context(), "k", clientv3.WithRev(2)); !errors.Is(err, rpctypes.ErrCompacted) {
			t.Errorf("what was compacted: %v", err)
		}
		if resp := <-c.Watch(t.Context(), "k", clientv3.WithRev(2)); !errors.Is(resp.Err(), rpctypes.ErrCompacted) || resp.CompactRevision != etcd.Revision() {
			t.Errorf("a watch of it: %v, compacted at %d", resp.Err(), resp.CompactRevision)
		}
		if resp, err := c.Get(t.Context(), "k"); err != nil || len(resp.Kvs) != 1 || resp.Kvs[0].Version != 3 {
			t.Errorf("what stands: %v, %v", resp, err)
		}
	})
}

func TestLeaseEndsAtAScanWithAllItsKeysAtOneRevision(t *testing.T) {
	bubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		c, ctx := etcd.Client(t), t.Context()
		time.Sleep(1200 * time.Millisecond) // of virtual time, so that nothing falls on a scan
		lease, err := c.Grant(ctx, 1)
		if err != nil || lease.TTL != 2 { // etcd's least
			t.Fatalf("%v, %v", lease, err)
		}
		for _, key := range []string{"a", "b"} {
			if _, err := c.Put(ctx, key, "", clientv3.WithLease(lease.ID)); err != nil {
				t.Fatal(err)
			}
		}
		var ranOut time.Duration
		etcd.OnExpiry(func(clientv3.LeaseID) { ranOut = etcd.Now() })
		resp := <-c.Watch(ctx, "a", clientv3.WithFromKey(), clientv3.WithFilterPut())
		if len(resp.Events) != 2 || resp.Events[0].Kv.ModRevision != resp.Events[1].Kv.ModRevision {
			t.Errorf("%v", resp.Events)
		}
		if ranOut != 3500*time.Millisecond {
			t.Errorf("after %v", ranOut)
		}
	})
}

func TestChangeOfLeaderGivesLeasesTheirTimeAgain(t *testing.T) {
	bubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		c := etcd.Client(t)
		if _, err := c.Grant(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		time.Sleep(9 * time.Second) // of virtual time
		etcd.ChangeLeader(3 * time.Second)
		if took, err := put(c, 10*time.Second); err != nil || took != 3*time.Second {
			t.Errorf("without a leader: %v after %v", err, took)
		}
		time.Sleep(10 * time.Second)
		if len(etcd.Leases()) != 1 {
			t.Error("its time was not given again")
		}
		time.Sleep(2 * time.Second)
		if len(etcd.Leases()) != 0 {
			t.Error("it lives for longer than that")
		}
	})
}

func TestEtcdGoesAndComesBackWithWhatItHad(t *testing.T) {
	bubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		c := etcd.Client(t)
		if _, err := put(c, time.Second); err != nil {
			t.Fatal(err)
		}
		etcd.Stop()
		if _, err := put(c, 5*time.Second); err == nil {
			t.Error("an etcd that is away answers")
		}
		etcd.Resume()
		if _, err := put(c, 30*time.Second); err != nil {
			t.Error(err)
		}
	})
}

func TestRestoredEtcdUsesRevisionsAgain(t *testing.T) {
	bubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		s := etcd.Session(t)
		etcd.Put("k", "before")
		b, revision := etcd.Backup(), etcd.Revision()
		l, err := lock.New(s, "x").Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		etcd.Put("k", "after")
		etcd.Restore(b)
		if v, _ := etcd.Get("k"); v != "before" || etcd.Revision() != revision {
			t.Errorf("%q at %d", v, etcd.Revision())
		}
		select {
		case <-l.Context().Done():
		case <-time.After(time.Minute):
			t.Error("a hold outlives what it stood on")
		}
	})
}

func TestMemberThatLagsIsOldForThoseWhoTakeThat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t, fencetest.WithMembers(3))
		etcd.Put("k", "old")
		for m := range 3 {
			etcd.Lag(m + 1)
		}
		etcd.Put("k", "new")
		c := etcd.Client(t)
		resp, err := c.Get(t.Context(), "k", clientv3.WithSerializable())
		if err != nil || string(resp.Kvs[0].Value) != "old" {
			t.Errorf("serializable: %v, %v", resp, err)
		}
		got := make(chan string, 1)
		go func() {
			if resp, err := c.Get(t.Context(), "k"); err == nil {
				got <- string(resp.Kvs[0].Value)
			}
		}()
		synctest.Wait()
		if len(got) > 0 {
			t.Error("it answers what it has not applied")
		}
		for m := range 3 {
			etcd.CatchUp(m + 1)
		}
		if v := <-got; v != "new" {
			t.Errorf("linearizable: %s", v)
		}
	})
}

func TestNoSpaceRefusesWhatTakesSpace(t *testing.T) {
	bubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		c, ctx := etcd.Client(t), t.Context()
		etcd.SetNoSpace(true)
		if _, err := put(c, time.Second); err == nil || !strings.Contains(err.Error(), "database space exceeded") {
			t.Errorf("put: %v", err)
		}
		if _, err := c.Grant(ctx, 5); err == nil {
			t.Error("a lease is granted")
		}
		if _, err := c.Delete(ctx, "k"); err != nil {
			t.Errorf("delete: %v", err)
		}
		etcd.SetNoSpace(false)
		if _, err := put(c, time.Second); err != nil {
			t.Error(err)
		}
	})
}

func TestUserWhoseTokenIsForgottenLogsInAgain(t *testing.T) {
	bubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		admin, ctx := etcd.Client(t), t.Context()
		for _, f := range []func() error{
			func() error { _, err := admin.UserAdd(ctx, "root", "r"); return err },
			func() error { _, err := admin.UserGrantRole(ctx, "root", "root"); return err },
			func() error { _, err := admin.AuthEnable(ctx); return err },
		} {
			if err := f(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := put(admin, time.Second); err == nil {
			t.Error("nobody has logged in, and may put")
		}
		c := etcd.Client(t, func(c *clientv3.Config) { c.Username, c.Password = "root", "r" })
		for range 2 {
			if _, err := put(c, 5*time.Second); err != nil {
				t.Error(err)
			}
			etcd.ForgetTokens()
		}
	})
}

func TestMemberThatDoesNotExistIsSaid(t *testing.T) {
	bubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		defer func() {
			if said := fmt.Sprint(recover()); !strings.Contains(said, "member 2: there are 1") {
				t.Error(said)
			}
		}()
		etcd.Lag(2)
	})
}
