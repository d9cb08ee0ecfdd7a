package bench

import (
	"context"
	"math/rand/v2"
	"time"
)

// schedule says when a worker's turns are due: at random, as many in a second on average as its share of the cell's
// rate, whatever became of those before. Without a rate a turn is due when the last one is over.
type schedule struct {
	rate float64 // a second
	draw *rand.Rand
	due  int64 // on the trial's clock
}

func newSchedule(c Cell, seed uint64, n int) schedule {
	if c.Rate == 0 {
		return schedule{}
	}
	return schedule{rate: c.Rate / float64(c.Contenders*c.Goroutines), draw: rand.New(rand.NewPCG(seed, ^uint64(n)))}
}

// lookUp is how often one who waits for the next turn looks whether the trial is over.
const lookUp = 20 * time.Millisecond

// wait waits until the next turn is due, and returns when that was or is; 0 without a rate. It is false when the trial
// is over before.
func (s *schedule) wait(ctx context.Context, t *trial) (due int64, ok bool) {
	if s.rate == 0 {
		return 0, true
	}
	if s.due == 0 {
		s.due = t.now()
	}
	s.due += int64(s.draw.ExpFloat64() / s.rate * float64(time.Second))
	for {
		left := time.Duration(s.due - t.now())
		switch {
		case t.phase.Load() == done || ctx.Err() != nil:
			return 0, false
		case left <= 0:
			return s.due, true
		}
		sleep(ctx, min(left, lookUp))
	}
}
