package keeper

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/watch"
)

// fakeClock is the bubble's time, and what the machine has slept.
type fakeClock struct {
	start  time.Time
	asleep atomic.Int64
}

func (c *fakeClock) Elapsed() time.Duration {
	return time.Since(c.start) + time.Duration(c.asleep.Load())
}

// suspend is a sleep of the machine: the clock goes on, timers do not.
func (c *fakeClock) suspend(d time.Duration) { c.asleep.Add(int64(d)) }

// holding is what one who holds under an epoch was told of its end.
type holding struct {
	mu    sync.Mutex
	cause error
	at    time.Duration
}

// hold holds something under e.
func (r *rig) hold(e *Epoch) *holding {
	l := &holding{}
	e.OnLoss(l, func(cause error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.cause, l.at = cause, r.clock.Elapsed()
	})
	return l
}

func (l *holding) told() (cause error, at time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause, l.at
}

// told is a call of the state hook.
type told struct {
	from, to State
	cause    error
	at       time.Duration
}

// rig is a keeper on a fake etcd, inside a bubble.
type rig struct {
	*Keeper
	etcd  *fakeEtcd
	clock *fakeClock
	watch *watch.Stream // nil: none

	mu   sync.Mutex
	told []told
}

// newRig is a rig whose keeper is not open yet.
func newRig() *rig {
	return &rig{etcd: newFakeEtcd(), clock: &fakeClock{start: time.Now()}}
}

func (r *rig) open(ctx context.Context, ttl time.Duration) error {
	cfg := Config{Client: silentClient, TTL: ttl, Namespace: "ns/", Record: "{}", Log: slog.New(slog.DiscardHandler)}
	cfg.Hooks.State = func(from, to State, cause error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.told = append(r.told, told{from, to, cause, r.clock.Elapsed()})
	}
	k, err := open(ctx, cfg, r.etcd, r.clock, r.watch)
	r.Keeper = k
	return err
}

// start opens a keeper that closes with the test.
func start(t *testing.T, ttl time.Duration) *rig {
	t.Helper()
	r := newRig()
	if err := r.open(t.Context(), ttl); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, kind := range []string{grants, renews, revokes, records} {
			r.etcd.let(kind, nil)
		}
		if err := r.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return r
}

// lose revokes the present lease, and tells.
func (r *rig) lose() {
	e := r.Current()
	r.etcd.revokeByHand(e.ID())
	e.Gone()
}

func (r *rig) goroutines() int {
	r.Keeper.mu.Lock()
	defer r.Keeper.mu.Unlock()
	return r.active
}

// states are the transitions that the hook was told of.
func (r *rig) states() []told {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]told(nil), r.told...)
}

func stateNames(ts []told) string {
	names := map[State]string{Live: "live", Suspect: "suspect", Down: "down", Closed: "closed"}
	s := ""
	for _, t := range ts {
		s += names[t.from] + ">" + names[t.to] + " "
	}
	return s
}

// near says whether a is b, up to a few milliseconds.
func near(a, b time.Duration) bool { return (a - b).Abs() <= 5*time.Millisecond }
