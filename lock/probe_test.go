package lock_test

import (
	"bufio"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

func hex(id clientv3.LeaseID) string { return strconv.FormatInt(int64(id), 16) }

// metric reads one figure of a server.
func metric(t testing.TB, endpoint, name string) int {
	t.Helper()
	resp, err := http.Get(endpoint + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			f, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			return int(f)
		}
	}
	t.Fatalf("%s has no metric %s", endpoint, name)
	return 0
}

func watchers(t testing.TB, client *clientv3.Client) int {
	return metric(t, client.Endpoints()[0], "etcd_debugging_mvcc_watcher_total")
}

// watching waits until somebody watches; prefix is for the message. It needs a server where nobody else does.
func watching(t testing.TB, client *clientv3.Client, prefix string) {
	t.Helper()
	etcdtest.Eventually(t, 5*time.Second, "a watch on "+prefix, func() bool { return watchers(t, client) > 0 })
}
