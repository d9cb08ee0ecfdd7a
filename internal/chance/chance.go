// Package chance is where the library's random numbers come from: jitter, lease IDs, picks. A test may seed it.
package chance

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

// seeded is what Seed has set; nil: the runtime's own.
var seeded atomic.Pointer[source]

type source struct {
	mu sync.Mutex
	r  *rand.Rand
}

// Seed makes all numbers from now on those of a seed, until undo. It is for tests, of which one at a time may do so.
func Seed(seed uint64) (undo func()) {
	before := seeded.Swap(&source{r: rand.New(rand.NewPCG(seed, seed))})
	return func() { seeded.Store(before) }
}

// Uint64 is any number.
func Uint64() uint64 {
	s := seeded.Load()
	if s == nil {
		return rand.Uint64()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.r.Uint64()
}

// N is from 0 up to and without n, which must be positive.
func N[T ~int | ~int64](n T) T {
	s := seeded.Load()
	if s == nil {
		return T(rand.Int64N(int64(n)))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return T(s.r.Int64N(int64(n)))
}

// Float64 is from 0 up to and without 1.
func Float64() float64 { return float64(Uint64()>>11) / (1 << 53) }
