package registry

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/fencetest"
)

// Who has left properly while a Directory was cut off has left, and who has died is distrusted, as at any other time.
func TestWhoLeftWhileADirectoryWasCutOffHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		etcd := fencetest.Start(t)
		dead := etcd.Node("dead")
		s, dies := etcd.Session(t), dead.Session(t)
		var leaving []*Registration
		for i := range 10 {
			in := Instance{Addr: fmt.Sprintf("10.0.0.%d:80", i)}
			r, err := Register(ctx, s, "leaves", in)
			if err != nil {
				t.Fatal(err)
			}
			leaving = append(leaving, r)
			if _, err := Register(ctx, dies, "dies", in); err != nil {
				t.Fatal(err)
			}
		}
		node := etcd.Node("reader")
		d, err := OpenDirectory(ctx, node.Client(t))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = d.Close() })
		node.Refuse()
		for _, r := range leaving[:8] {
			if err := r.Deregister(ctx); err != nil {
				t.Fatal(err)
			}
		}
		dead.Freeze()
		etcd.Expire(dies.Lease())
		node.Heal()
		time.Sleep(3 * time.Second) // of virtual time: the longest back-off, and the list
		defer dead.Thaw()
		for service, want := range map[string]int{"leaves": 2, "dies": 10} {
			entries, err := d.Instances(ctx, service)
			if err != nil || len(entries) != want {
				t.Errorf("%s: %d instances, %v; want %d: %v", service, len(entries), err, want, entries)
			}
		}
	})
}

func TestDirectoryOfOneServiceNeedsNoRightToReadTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		etcd := fencetest.Start(t)
		s, admin := etcd.Session(t), etcd.Client(t)
		for _, service := range []string{"web", "websocket"} {
			if _, err := Register(ctx, s, service, Instance{Addr: "10.0.0.1:80"}); err != nil {
				t.Fatal(err)
			}
		}
		for _, f := range []func() error{
			func() error { _, err := admin.UserAdd(ctx, "root", "r"); return err },
			func() error { _, err := admin.UserGrantRole(ctx, "root", "root"); return err },
			func() error { _, err := admin.UserAdd(ctx, "reader", "r"); return err },
			func() error { _, err := admin.RoleAdd(ctx, "web"); return err },
			func() error {
				_, err := admin.RoleGrantPermission(ctx, "web", "services/web/", "services/web0", 0)
				return err
			},
			func() error { _, err := admin.UserGrantRole(ctx, "reader", "web"); return err },
			func() error { _, err := admin.AuthEnable(ctx); return err },
		} {
			if err := f(); err != nil {
				t.Fatal(err)
			}
		}
		reader := etcd.Client(t, func(c *clientv3.Config) { c.Username, c.Password = "reader", "r" })
		if _, err := OpenDirectory(ctx, reader); err == nil {
			t.Error("it reads all services")
		}
		d, err := OpenDirectory(ctx, reader, WithService("web"))
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if in, err := d.Pick(ctx, "web"); err != nil || in.Addr != "10.0.0.1:80" {
			t.Errorf("%v, %v", in, err)
		}
		if _, err := d.Instances(ctx, "websocket"); err == nil || !strings.Contains(err.Error(), `"web" alone`) {
			t.Errorf("another service: %v", err)
		}
		for _, service := range []string{"", "a/b"} {
			if _, err := OpenDirectory(ctx, reader, WithService(service)); err == nil {
				t.Errorf("service %q is taken", service)
			}
		}
	})
}
