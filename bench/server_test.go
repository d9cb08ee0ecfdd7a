package bench

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// metricsOf is what a member says that has written its log so often, 1 ms each but for slow ones of 100 ms.
func metricsOf(fsyncs, slow, proposals int) string {
	return fmt.Sprintf(`# TYPE etcd_disk_wal_fsync_duration_seconds histogram
etcd_disk_wal_fsync_duration_seconds_bucket{le="0.001"} %[1]d
etcd_disk_wal_fsync_duration_seconds_bucket{le="0.1"} %[2]d
etcd_disk_wal_fsync_duration_seconds_bucket{le="+Inf"} %[2]d
etcd_disk_wal_fsync_duration_seconds_sum %[3]v
etcd_disk_wal_fsync_duration_seconds_count %[2]d
# TYPE etcd_server_proposals_applied_total gauge
etcd_server_proposals_applied_total %[4]d
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total %[5]v
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes 5e+07
`, fsyncs, fsyncs+slow, float64(fsyncs)*0.001+float64(slow)*0.1, proposals, float64(proposals)*0.001)
}

func TestServerIsWhatMembersSayOfTheTimeBetween(t *testing.T) {
	said := [2]string{metricsOf(100, 0, 1000), metricsOf(50, 0, 1000)}
	var endpoints []string
	for i := range said {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/metrics" {
				fmt.Fprint(w, said[i])
			}
		}))
		defer s.Close()
		endpoints = append(endpoints, strings.TrimPrefix(s.URL, "http://"), "127.0.0.1:1") // one that is not there
	}
	s := newScraper(clientv3.Config{Endpoints: endpoints})
	defer s.close()
	before := s.look(t.Context())
	said = [2]string{metricsOf(198, 2, 1400), metricsOf(150, 0, 1400)}
	got := served(before, s.look(t.Context()))
	if got == nil || got.Members != 2 || got.Proposals != 400 || got.Fsyncs != 200 || got.CPU.Round(time.Millisecond) != 800*time.Millisecond || got.Memory != 1e8 {
		t.Fatalf("got %+v", got)
	}
	if got.FsyncMean.Round(10*time.Microsecond) != 1990*time.Microsecond || got.FsyncP99 != time.Millisecond {
		t.Errorf("mean %v, p99 %v, want 1.99ms and 1ms", got.FsyncMean, got.FsyncP99)
	}
}

func TestServerThatTellsNothingIsNone(t *testing.T) {
	var asked atomic.Int64
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		fmt.Fprint(w, "<html>welcome</html>")
	}))
	defer web.Close()
	s := newScraper(clientv3.Config{Endpoints: []string{web.URL, "127.0.0.1:1"}})
	defer s.close()
	if got := served(s.look(t.Context()), s.look(t.Context())); got != nil {
		t.Errorf("got %+v", got)
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times, and it never told", n)
	}
	var none *Server
	if some := none.add(&Server{Proposals: 3}); some == nil || some.Proposals != 3 {
		t.Errorf("a round that told and one that did not: %+v", some)
	}
}

func TestQuantileLiesWithinItsBucket(t *testing.T) {
	counts := map[float64]uint64{0.001: 50, 0.002: 100}
	for q, want := range map[float64]time.Duration{0.25: 500 * time.Microsecond, 0.5: time.Millisecond, 0.75: 1500 * time.Microsecond, 1: 2 * time.Millisecond} {
		if got := quantile(q, counts, 100); got != want {
			t.Errorf("%v: %v, want %v", q, got, want)
		}
	}
}
