package lock_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/meter"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/semaphore"
	"github.com/fenceline/fenceline/session"
)

// Calls whose ctx ends at any moment, also at that of their grant, are counted once each, and each grant has an end.
func TestCountsOfWaitsAndHoldsAddUp(t *testing.T) {
	t.Parallel()
	s, err := session.Open(t.Context(), etcdtest.Shared(t).Client(t), session.WithMetrics(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	name := etcdtest.Name(t)
	calls := map[string]func(context.Context) (release func(context.Context) error, err error){
		"lock": func(ctx context.Context) (func(context.Context) error, error) {
			l, err := lock.New(s, name).Acquire(ctx)
			return func(ctx context.Context) error { return l.Release(ctx) }, err
		},
		"rwlock": func(ctx context.Context) (func(context.Context) error, error) {
			acquire := lock.NewRW(s, name).AcquireRead
			if rand.N(2) == 0 {
				acquire = lock.NewRW(s, name).AcquireWrite
			}
			l, err := acquire(ctx)
			return func(ctx context.Context) error { return l.Release(ctx) }, err
		},
		"semaphore": func(ctx context.Context) (func(context.Context) error, error) {
			p, err := semaphore.New(s, name, 2).Acquire(ctx, 1)
			return func(ctx context.Context) error { return p.Release(ctx) }, err
		},
	}
	var made, got [3]atomic.Uint64
	kinds := []string{"lock", "rwlock", "semaphore"}
	var all sync.WaitGroup
	for i, kind := range kinds {
		for range 8 {
			all.Go(func() {
				for range 300 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.N(int64(2*time.Millisecond))))
					made[i].Add(1)
					if release, err := calls[kind](ctx); err == nil {
						got[i].Add(1)
						time.Sleep(time.Duration(rand.N(int64(100 * time.Microsecond))))
						if err := release(t.Context()); err != nil {
							t.Errorf("%s: %v", kind, err)
						}
					}
					cancel()
				}
			})
		}
	}
	all.Wait()
	read := keeper.Of(s).Read()
	for i, kind := range kinds {
		for _, l := range read.Lines {
			if l.Kind != kind {
				continue
			}
			counted := uint64(0)
			for _, h := range l.Waits {
				counted += h.Count
			}
			granted := l.Granted()
			if counted != made[i].Load() || granted < got[i].Load() || granted != l.Released.Count+l.Lost.Count || l.Held != 0 || l.Waiting != 0 {
				t.Errorf("%s: %d calls, of which %d were granted: counted %d, granted %d, released %d, lost %d, held %d, waiting %d", kind, made[i].Load(), got[i].Load(), counted, granted, l.Released.Count, l.Lost.Count, l.Held, l.Waiting)
			}
			if w := l.Waits[meter.Wait{Outcome: meter.Timeout}]; w == nil {
				t.Errorf("%s: no call has timed out, so this shows nothing", kind)
			}
		}
	}
}
