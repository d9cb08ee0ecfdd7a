package lock_test

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

// What metrics cost a lock that stays within the process. Sessions with and without them take turns, a few milliseconds each, so that what
// the machine does besides hits both alike; overhead% is the median of the ratios of neighbouring turns.
func BenchmarkMetrics(b *testing.B) {
	client := etcdtest.Shared(b).Client(b)
	plain, err := session.Open(b.Context(), client)
	if err != nil {
		b.Fatal(err)
	}
	counted, err := session.Open(b.Context(), client, session.WithMetrics(nil))
	if err != nil {
		b.Fatal(err)
	}
	for _, goroutines := range []int{1, 64} {
		b.Run(strconv.Itoa(goroutines), func(b *testing.B) {
			name := etcdtest.Name(b)
			locks := [2]*lock.Mutex{lock.New(plain, name+"0", lock.WithLinger(time.Minute)), lock.New(counted, name+"1", lock.WithLinger(time.Minute))}
			const turn = 20_000
			run := func(m *lock.Mutex) time.Duration {
				began := time.Now()
				var all sync.WaitGroup
				for range goroutines {
					all.Go(func() {
						for range turn / goroutines {
							l, err := m.Acquire(context.Background())
							if err != nil {
								b.Error(err)
								return
							}
							if err := l.Release(context.Background()); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				all.Wait()
				return time.Since(began)
			}
			run(locks[0])
			run(locks[1])
			var ratios []float64
			for b.Loop() {
				without, with := run(locks[0]), run(locks[1])
				again := run(locks[0])
				ratios = append(ratios, 2*float64(with)/float64(without+again))
			}
			slices.Sort(ratios)
			b.ReportMetric((ratios[len(ratios)/2]-1)*100, "overhead%")
			b.ReportMetric(0, "ns/op")
		})
	}
}
