package registry

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fenceline/fenceline/fencetest"
)

// What a watch tells of a service that a Directory does not know stops nothing: a record that cannot be read, and a deletion.
func TestChangeOfAnUnknownServiceStopsNoDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		etcd := fencetest.Start(t)
		s := etcd.Session(t)
		d, err := OpenDirectory(ctx, etcd.Client(t))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = d.Close() })
		if _, err := d.Instances(ctx, "x"); err != nil {
			t.Fatal(err)
		}
		etcd.Put("services/strange/a", "no record")
		etcd.Delete("services/strange/a")
		r, err := Register(ctx, s, "x", Instance{ID: "a", Addr: "10.0.0.1:80"})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // of virtual time: it has heard
		if all, err := d.Instances(ctx, "x"); err != nil || len(all) != 1 {
			t.Errorf("%v, %v", all, err)
		}
		if err := r.Deregister(ctx); err != nil {
			t.Error(err)
		}
	})
}
