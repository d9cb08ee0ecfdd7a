package semaphore

import "sync"

// tally counts the permits that are held here. Its mutex is taken last.
type tally struct {
	mu      sync.Mutex
	units   int64
	permits map[int64]int // by their units
}

func (t *tally) add(units int64, permits int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.permits == nil {
		t.permits = map[int64]int{}
	}
	t.units += units * int64(permits)
	if t.permits[units] += permits; t.permits[units] == 0 {
		delete(t.permits, units)
	}
}

func (t *tally) all() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.units
}

// of is how many permits of that size are held.
func (t *tally) of(units int64) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return int64(t.permits[units])
}
