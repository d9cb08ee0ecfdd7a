package semaphore_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/semaphore"
)

// BenchmarkHeld is of a session that takes one of 5 000 units and gives it back, while others hold so many and nobody waits. The two take turns,
// 50 each: what the machine does meanwhile hits both.
func BenchmarkHeld(b *testing.B) {
	m := etcdtest.Shared(b)
	held := []int{0, 1000}
	mine := make([]*semaphore.Semaphore, len(held))
	spent := make([]time.Duration, len(held))
	for i, n := range held {
		name := etcdtest.Name(b)
		var all sync.WaitGroup
		for range 4 {
			others := semaphore.New(open(b, m.Client(b)), name, 5000)
			all.Go(func() {
				for range n / 4 {
					if _, err := others.Acquire(b.Context(), 1); err != nil {
						b.Error(err)
					}
				}
			})
		}
		all.Wait()
		mine[i] = semaphore.New(open(b, m.Client(b)), name, 5000)
	}
	time.Sleep(6 * time.Second) // until those who came one after the other do not look at the line any more
	for range b.N {
		for i := range held {
			began := time.Now()
			for range 50 {
				p, err := mine[i].Acquire(b.Context(), 1)
				if err != nil {
					b.Fatal(err)
				}
				if err := p.Release(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			spent[i] += time.Since(began)
		}
	}
	for i, n := range held {
		b.ReportMetric(float64(50*b.N)/spent[i].Seconds(), fmt.Sprintf("acquisitions/s-of-%d", n))
	}
}
