package watch_test

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

// watchers is how many watches etcd itself counts.
func watchers(t testing.TB, m *etcdtest.Member) int {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport}).Get(m.Endpoint() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "etcd_debugging_mvcc_watcher_total "); ok {
			var n int
			fmt.Sscan(rest, &n)
			return n
		}
	}
	t.Fatal("etcd does not tell its watchers")
	return 0
}
