package semaphore_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/semaphore"
)

// BenchmarkGoroutines is of goroutines of one process that take turns: what a permit costs does not depend on how many wait. A limit of 1 is
// beside the mutex.
func BenchmarkGoroutines(b *testing.B) {
	m := etcdtest.Shared(b)
	for _, c := range []struct {
		goroutines int
		limit      int64
	}{{8, 4}, {64, 4}, {1000, 4}, {64, 1}, {1000, 1}} {
		b.Run(fmt.Sprintf("permits=%d/goroutines=%d", c.limit, c.goroutines), func(b *testing.B) {
			sem := semaphore.New(open(b, m.Client(b)), etcdtest.Name(b), c.limit)
			takeTurns(b, c.goroutines, func(ctx context.Context) (func(context.Context) error, error) {
				p, err := sem.Acquire(ctx, 1)
				if err != nil {
					return nil, err
				}
				return p.Release, nil
			})
		})
	}
	for _, goroutines := range []int{64, 1000} {
		b.Run(fmt.Sprintf("mutex/goroutines=%d", goroutines), func(b *testing.B) {
			mutex := lock.New(open(b, m.Client(b)), etcdtest.Name(b))
			takeTurns(b, goroutines, func(ctx context.Context) (func(context.Context) error, error) {
				l, err := mutex.Acquire(ctx)
				if err != nil {
					return nil, err
				}
				return l.Release, nil
			})
		})
	}
}

func takeTurns(b *testing.B, goroutines int, acquire func(context.Context) (release func(context.Context) error, err error)) {
	ctx := b.Context()
	var left atomic.Int64
	left.Store(int64(b.N))
	var all sync.WaitGroup
	b.ResetTimer()
	for range goroutines {
		all.Go(func() {
			for left.Add(-1) >= 0 {
				release, err := acquire(ctx)
				if err == nil {
					err = release(ctx)
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "acquisitions/s")
}
