package bench

import (
	"context"
	"sync"
	"testing"
)

// bare is a sync.Mutex as a Locker.
type bare struct{ mu *sync.Mutex }

func (b bare) Lock(context.Context, *Turn) error { b.mu.Lock(); return nil }
func (b bare) Unlock(context.Context) error      { b.mu.Unlock(); return nil }

func bareWorker() *worker {
	t := newTrial(Cell{Contenders: 1, Goroutines: 1}, 1)
	t.phase.Store(measuring)
	return newWorker(t, bare{new(sync.Mutex)}, 0)
}

func TestAnAcquisitionAllocatesNothing(t *testing.T) {
	w, ctx := bareWorker(), t.Context()
	if n := testing.AllocsPerRun(1000, func() { w.turn(ctx, ctx) }); n != 0 {
		t.Errorf("%v allocations for each acquisition: memory grows with the run", n)
	}
}

func TestWaitThatNeverEndedIsTheLongest(t *testing.T) {
	w := bareWorker()
	w.locker = cancelled{w.locker}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if w.turn(ctx, ctx) {
		t.Error("goes on after its context has ended")
	}
	if w.modes[0].longest == 0 {
		t.Error("a starved wait is not in the books")
	}
}

type cancelled struct{ Locker }

func (cancelled) Lock(ctx context.Context, _ *Turn) error { return ctx.Err() }

// The difference of the two is what the benchmark adds to an acquisition.
func BenchmarkOverhead(b *testing.B) {
	b.Run("loop=bare", func(b *testing.B) {
		var l Locker = bare{new(sync.Mutex)}
		for b.Loop() {
			l.Lock(b.Context(), nil)
			l.Unlock(b.Context())
		}
	})
	b.Run("loop=measured", func(b *testing.B) {
		w, ctx := bareWorker(), b.Context()
		for b.Loop() {
			w.turn(ctx, ctx)
		}
	})
}
