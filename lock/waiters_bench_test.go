package lock_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

// BenchmarkWaiters is what those who only wait cost etcd: sessions with a TTL of 15 s in one line, renewals included.
func BenchmarkWaiters(b *testing.B) {
	for _, n := range []int{0, 200, 2000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			m, name := etcdtest.Start(b), etcdtest.Name(b)
			acquire(b, lock.New(open(b, m.Client(b)), name))
			ctx, cancel := context.WithCancel(b.Context())
			var all sync.WaitGroup
			defer all.Wait()
			defer cancel()
			for range 20 {
				client := m.Client(b)
				all.Go(func() {
					for range n / 20 {
						s, err := session.Open(ctx, client)
						if err != nil {
							b.Error(err)
							return
						}
						all.Go(func() {
							defer s.Close(context.Background())
							_, _ = lock.New(s, name).Acquire(ctx) // until it ends
						})
					}
				})
			}
			etcdtest.Eventually(b, 2*time.Minute, "all in line", func() bool {
				return len(etcdtest.Keys(b, m.Client(b), "fenceline/lock/"+name+"/")) == n+1
			})
			time.Sleep(4 * time.Minute) // what coming costs, and the first questions
			const window = 20 * time.Second
			before := cpuSeconds(b, m.Endpoint())
			time.Sleep(window)
			b.ReportMetric((cpuSeconds(b, m.Endpoint())-before)/window.Seconds(), "cores")
		})
	}
}

// cpuSeconds is what etcd says that it has used of processors.
func cpuSeconds(b *testing.B, endpoint string) float64 {
	b.Helper()
	resp, err := http.Get(endpoint + "/metrics")
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var seconds float64
		if _, err := fmt.Sscanf(line, "process_cpu_seconds_total %g", &seconds); err == nil {
			return seconds
		}
	}
	b.Fatal("etcd does not say how much of a processor it has used")
	return 0
}
