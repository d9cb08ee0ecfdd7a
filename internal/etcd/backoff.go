package etcd

import (
	"context"
	"time"

	"github.com/fenceline/fenceline/internal/chance"
)

// Backoff is how long to wait after attempts that failed: twice as long each time, from the first wait to the longest. The waits are drawn
// from half to one and a half of that, so that a fleet whose attempts failed in one moment does not come back in one.
type Backoff struct{ First, Longest time.Duration }

// The policies.
var (
	// Prompt is for a request that somebody waits for.
	Prompt = Backoff{20 * time.Millisecond, time.Second}
	// Steady is for what goes on by itself, as long as a session or a watcher lives: leases, streams, lists.
	Steady = Backoff{50 * time.Millisecond, 2 * time.Second}
	// Refused is for what etcd denies. Somebody may allow it in a while.
	Refused = Backoff{100 * time.Millisecond, 10 * time.Second}
)

// Wait is the wait after so many attempts failed, one at least.
func (b Backoff) Wait(failed int) time.Duration {
	return Jitter(min(b.First<<min(max(failed-1, 0), 16), b.Longest))
}

// Sleep waits, and returns false if ctx ended first.
func (b Backoff) Sleep(ctx context.Context, failed int) bool { return Sleep(ctx, b.Wait(failed)) }

// Jitter is between half of d and one and a half.
func Jitter(d time.Duration) time.Duration { return d/2 + chance.N(max(d, 1)) }

// Sleep waits for d. It returns false if ctx ended first.
func Sleep(ctx context.Context, d time.Duration) bool { return SleepUnless(ctx, d, nil) }

// SleepUnless is Sleep that returns false also when done was closed first.
func SleepUnless(ctx context.Context, d time.Duration, done <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-done:
	case <-ctx.Done():
	}
	return false
}
