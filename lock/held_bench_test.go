package lock_test

import (
	"errors"
	"testing"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
)

// A TryAcquire that fails, in a loop: while another session holds the lock, and while this one does.
func BenchmarkTryAcquireOfAHeldLock(b *testing.B) {
	m := etcdtest.Shared(b)
	name := etcdtest.Name(b)
	held := lock.New(open(b, m.Client(b)), name)
	acquire(b, held)
	other := lock.New(open(b, m.Client(b)), name)
	fails := func(m *lock.Mutex) func(*testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := m.TryAcquire(b.Context()); !errors.Is(err, lock.ErrHeld) {
					b.Fatal(err)
				}
			}
		}
	}
	b.Run("elsewhere", fails(other))
	b.Run("here", fails(held))
}
