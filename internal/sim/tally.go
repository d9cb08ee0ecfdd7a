package sim

import "sync"

// tally counts by name.
type tally struct {
	mu sync.Mutex
	n  map[string]int
}

func newTally() *tally { return &tally{n: map[string]int{}} }

func (t *tally) next(name string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n[name]++
	return t.n[name]
}
