package grpcresolver_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/registry"
	"github.com/fenceline/fenceline/registry/grpcresolver"
)

func directory(t *testing.T, client *clientv3.Client, opts ...registry.DirectoryOption) *registry.Directory {
	t.Helper()
	d, err := registry.OpenDirectory(t.Context(), client, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func put(t *testing.T, client *clientv3.Client, name, addr, more string, opts ...clientv3.OpOption) {
	t.Helper()
	if _, err := client.Put(t.Context(), "services/"+name+"/"+addr, fmt.Sprintf(`{"Addr":%q%s}`, addr, more), opts...); err != nil {
		t.Fatal(err)
	}
}

func TestConnectionsOfADirectoryKeepWhatItPreserves(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), service(t)
	lease, err := client.Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	a, b := serve(t, "127.0.0.1:0"), serve(t, "127.0.0.1:0")
	put(t, client, name, a.addr, "", clientv3.WithLease(lease.ID))
	put(t, client, name, b.addr, "", clientv3.WithLease(lease.ID))
	d := directory(t, client)
	conn := dial(t, "fenceline:///"+name, grpcresolver.FromDirectory(d))
	if err := call(t, conn); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Revoke(t.Context(), lease.ID); err != nil {
		t.Fatal(err)
	}
	etcdtest.Eventually(t, 10*time.Second, "the loss", func() bool {
		entries, err := d.Instances(t.Context(), name)
		return err == nil && len(entries) == 2 && entries[0].Stale
	})
	for range 50 {
		if err := call(t, conn); err != nil {
			t.Fatal(err)
		}
	}
}

func TestConnectionsOfADirectoryStartFromItsSnapshotAndItsZone(t *testing.T) {
	m, name := etcdtest.Start(t), service(t)
	client := m.Client(t)
	m.Kill()
	near, far := serve(t, "127.0.0.1:0"), serve(t, "127.0.0.1:0")
	file := filepath.Join(t.TempDir(), "services.json")
	text := fmt.Sprintf(`{"schema":"fenceline.directory/v1","prefix":"services/","services":{%q:[{"Addr":%q,"Zone":"near"},{"Addr":%q,"Zone":"far"}]}}`, name, near.addr, far.addr)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	conn := dial(t, "fenceline:///"+name, grpcresolver.FromDirectory(directory(t, client, registry.WithSnapshot(file), registry.WithZone("near"))))
	for range 20 {
		if err := call(t, conn); err != nil {
			t.Fatal(err)
		}
	}
	if near.calls.Load() != 20 || far.calls.Load() != 0 {
		t.Errorf("%d near, %d far", near.calls.Load(), far.calls.Load())
	}
}

func TestWeightedPolicyDrawsByWeight(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), service(t)
	heavy, light := serve(t, "127.0.0.1:0"), serve(t, "127.0.0.1:0")
	put(t, client, name, heavy.addr, `,"Weight":9`)
	put(t, client, name, light.addr, "")
	conn, err := grpc.NewClient("fenceline:///"+name, grpc.WithResolvers(grpcresolver.New(client)), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"`+grpcresolver.Policy+`":{}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := healthpb.NewHealthClient(conn)
	etcdtest.Eventually(t, 10*time.Second, "both", func() bool {
		_ = call(t, c)
		return heavy.calls.Load() > 0 && light.calls.Load() > 0
	})
	heavy.calls.Store(0)
	light.calls.Store(0)
	for range 2000 {
		if err := call(t, c); err != nil {
			t.Fatal(err)
		}
	}
	if share := float64(light.calls.Load()) / 2000; share < 0.06 || share > 0.14 {
		t.Errorf("the one of ten has %.2f of the calls", share)
	}
}

func TestCallToNobodySaysOfWhom(t *testing.T) {
	client, name := etcdtest.Shared(t).Client(t), service(t)
	for what, b := range map[string]func() error{
		"watch": func() error { return call(t, dial(t, "fenceline:///"+name, grpcresolver.New(client))) },
		"directory": func() error {
			return call(t, dial(t, "fenceline:///"+name, grpcresolver.FromDirectory(directory(t, client))))
		},
	} {
		if err := b(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestTroubleIsAlsoToldToWhoAsked(t *testing.T) {
	m, name := etcdtest.Start(t), service(t)
	client := m.Client(t)
	srv := serve(t, "127.0.0.1:0")
	put(t, client, name, srv.addr, "")
	var told atomic.Int32
	conn := dial(t, "fenceline:///"+name, grpcresolver.New(client, registry.WithTroubleFunc(func(error) { told.Add(1) })))
	if err := call(t, conn); err != nil {
		t.Fatal(err)
	}
	m.Kill()
	etcdtest.Eventually(t, 20*time.Second, "a word", func() bool { return told.Load() > 0 })
	if err := call(t, conn); err != nil {
		t.Errorf("while etcd is away: %v", err)
	}
}
