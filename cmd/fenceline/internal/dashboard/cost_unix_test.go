//go:build unix

package dashboard

import (
	"fmt"
	"net/http"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/etcdtest"
)

// used is how many seconds of a processor this process uses in a while.
func used(b *testing.B, span time.Duration) float64 {
	b.Helper()
	now := func() float64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
	}
	before := now()
	time.Sleep(span)
	return now() - before
}

// What the dashboard costs beside a busy cluster while a page is open: in its own process it would be the same, less what the cluster's clients
// cost, which is measured before and taken off.
func BenchmarkDashboardBesideABusyCluster(b *testing.B) {
	for _, locks := range []int{100, 1000} {
		b.Run(fmt.Sprint(locks), func(b *testing.B) {
			m := etcdtest.Start(b)
			busy(b, m, locks, 50, 200)
			const span = 10 * time.Second
			time.Sleep(3 * time.Second)
			before := used(b, span)
			at, _ := serve(b, m, nil)
			resp, err := http.Get(at + "events")
			if err != nil {
				b.Fatal(err)
			}
			defer resp.Body.Close()
			go func() { // as a browser does
				buf := make([]byte, 1024)
				for {
					if _, err := resp.Body.Read(buf); err != nil {
						return
					}
					if page, err := http.Get(at + "lines"); err == nil {
						page.Body.Close()
					}
				}
			}()
			for b.Loop() {
				b.ReportMetric((used(b, span)-before)/span.Seconds()*100, "core%")
			}
			runtime.GC()
			var mem runtime.MemStats
			runtime.ReadMemStats(&mem)
			b.ReportMetric(float64(mem.Sys)/(1<<20), "MiB-with-the-cluster's-clients")
		})
	}
}
