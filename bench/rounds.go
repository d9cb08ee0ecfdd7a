package bench

import (
	"context"
	"sync"
)

// rounds has the turns of all workers begin together: see About.Together.
type rounds struct {
	mu      sync.Mutex
	workers int
	came    int
	next    *round
}

// round is what those wait for who have come to it.
type round struct {
	begun chan struct{}
	last  bool // there is none
}

func newRounds(workers int) *rounds {
	return &rounds{workers: workers, next: &round{begun: make(chan struct{})}}
}

// wait returns when all workers have come. The last one to come says for all of them whether there is another round:
// nobody begins one that others are not in.
func (r *rounds) wait(ctx context.Context, over func() bool) bool {
	r.mu.Lock()
	mine := r.next
	if r.came++; r.came == r.workers {
		r.came, r.next = 0, &round{begun: make(chan struct{})}
		mine.last = over()
		close(mine.begun)
	}
	r.mu.Unlock()
	select {
	case <-mine.begun:
		return !mine.last
	case <-ctx.Done():
		return false
	}
}

// begin is false when there is no other turn. Who did not get the last one begins at once: others wait for it inside.
func (t *trial) begin(ctx context.Context, again bool) bool {
	over := func() bool { return t.phase.Load() == done }
	if t.rounds == nil || again {
		return !over()
	}
	return t.rounds.wait(ctx, over)
}
