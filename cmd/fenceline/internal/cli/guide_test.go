package cli

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/registry"
)

// guide registers a service as the guides of etcd's clients show it: the address is in the key, and the value says no more than that it
// is there. What is garbage comes first, so that it is there when the others are.
const guide = `
import sys, etcd3
host, port, service = sys.argv[1], int(sys.argv[2]), sys.argv[3]
etcd = etcd3.client(host=host, port=port)
lease = etcd.lease(30)
etcd.put("services/%s/garbage" % service, "up and running", lease)
etcd.put("services/%s/10.0.0.1:80" % service, "available", lease)
etcd.put("services/%s/node-2" % service, "10.0.0.2:80", lease)
sys.stdin.readline()
lease.revoke()
`

func TestServicesOfPythonsClientAreFound(t *testing.T) {
	t.Parallel()
	interpreter := "/usr/bin/python3" // the system's, which has what its packages bring
	if err := exec.Command(interpreter, "-c", "import etcd3").Run(); err != nil {
		t.Skip("needs Python with etcd3 (Debian: python3-etcd3)")
	}
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	client := m.Client(t)
	host, port, err := net.SplitHostPort(strings.TrimPrefix(m.Endpoint(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	python := exec.CommandContext(t.Context(), interpreter, "-c", guide, host, port, name)
	python.Env = append(python.Environ(), "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python")
	var said strings.Builder
	python.Stderr = &said
	end, err := python.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := python.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		end.Close()
		if err := python.Wait(); err != nil {
			t.Errorf("%v: %s", err, &said)
		}
	}()
	isThere(t, client, name, func() string { return said.String() })
}

// isThere says whether all who read a service find the two instances that the guide's program has put there.
func isThere(t *testing.T, client *clientv3.Client, name string, said func() string) {
	t.Helper()
	const want = "10.0.0.1:80 10.0.0.2:80"
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	got := ""
	for ins, err := range registry.Watch(ctx, client, name) {
		if err != nil {
			t.Fatalf("Watch: %v, %s", err, said())
		}
		if got = addrs(ins); got == want {
			break
		}
	}
	if ins, err := registry.Lookup(ctx, client, name); err != nil || got != want || addrs(ins) != want || ins[0].Meta["value"] != "available" {
		t.Errorf("Watch %s, Lookup %+v, %v: %s", got, ins, err, said())
	}
	d, err := registry.OpenDirectory(ctx, client)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if in, err := d.Pick(ctx, name); err != nil || !strings.Contains(want, in.Addr) {
		t.Errorf("Pick: %+v, %v", in, err)
	}
	endpoints := strings.Join(client.Endpoints(), ",")
	for format, says := range map[string]string{"table": "10.0.0.1:80", "json": `"10.0.0.2:80"`, "prometheus-sd": `"targets":["10.0.0.1:80"]`} {
		code, stdout, stderr := fenceline("services", name, "-o", format, "--endpoints", endpoints)
		if code != 0 || !strings.Contains(stdout, says) || !strings.Contains(stderr, "1 entry is of no instance, and left out") || !strings.Contains(stderr, "garbage") {
			t.Errorf("%s: code %d, %s%s", format, code, stdout, stderr)
		}
	}
}

func addrs(ins []registry.Instance) string {
	var all []string
	for _, in := range ins {
		all = append(all, in.Addr)
	}
	return strings.Join(all, " ")
}

func TestServicesOfTheGuideAreFound(t *testing.T) {
	t.Parallel()
	m, name := etcdtest.Shared(t), etcdtest.Name(t)
	client := m.Client(t)
	for id, value := range map[string]string{"10.0.0.1:80": "available", "node-2": "10.0.0.2:80", "garbage": "up and running"} {
		if _, err := client.Put(t.Context(), fmt.Sprintf("services/%s/%s", name, id), value); err != nil {
			t.Fatal(err)
		}
	}
	isThere(t, client, name, func() string { return "" })
}
