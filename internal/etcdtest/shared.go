package etcdtest

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Shared returns the server that all tests of this binary share: a start costs a tenth of a second and more.
// Tests use names of their own (see Name), and neither Kill nor Stop it. It ends with the test binary.
func Shared(t testing.TB) *Member {
	t.Helper()
	m, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Connect is a client of the shared server for examples, which have no testing.TB. The caller closes it.
func Connect() *clientv3.Client {
	m, err := shared()
	if err != nil {
		panic(err)
	}
	client, err := clientv3.New(clientConfig([]string{m.endpoint}))
	if err != nil {
		panic(err)
	}
	return client
}

// The server is never stopped, so the end of its stdin is enough to end it, and lets it remove its data.
var shared = sync.OnceValues(func() (*Member, error) {
	p, err := spawn(false, "--no-fsync", "--listen", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	endpoint, err := p.ready()
	return &Member{endpoint: endpoint, process: p}, err
})

var names atomic.Int64

// Name returns a name that no other test of this binary uses, nor another run of this test.
func Name(t testing.TB) string {
	return fmt.Sprintf("%s-%d", strings.ReplaceAll(t.Name(), "/", "-"), names.Add(1))
}
