package lock_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
)

// BenchmarkTokens is of 64 goroutines of a process that take turns, and look at their tokens, or do not.
func BenchmarkTokens(b *testing.B) {
	m := etcdtest.Shared(b)
	for _, look := range []bool{false, true} {
		name := "unseen"
		if look {
			name = "seen"
		}
		b.Run(name, func(b *testing.B) {
			mutex := lock.New(open(b, m.Client(b)), etcdtest.Name(b))
			var left atomic.Int64
			left.Store(int64(b.N))
			var all sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for range 64 {
				all.Go(func() {
					for left.Add(-1) >= 0 {
						l, err := mutex.Acquire(b.Context())
						if err != nil {
							b.Error(err)
							return
						}
						if look && l.Token() == 0 {
							b.Error("no token")
						}
						if err := l.Release(b.Context()); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "acquisitions/s")
		})
	}
}
