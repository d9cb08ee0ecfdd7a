package keeper

import (
	"context"
	"sync"
	"time"

	"github.com/fenceline/fenceline/internal/meter"
)

// Call is one that wants to hold, told of from its beginning to the end of what it got. A line tells of its own.
type Call struct {
	Ctx context.Context // its own from now on
	Wait

	keeper *Keeper
	shard  *meter.Shard  // nil: nothing is counted
	came   time.Duration // zero if nobody wants to know
	held   time.Duration // since when it holds
	holds  bool          // outside of lines
}

// Call begins one.
func (k *Keeper) Call(ctx context.Context, w Wait) *Call {
	c := &Call{Ctx: ctx, Wait: w, keeper: k}
	if k.Timed() {
		if k.Meter != nil {
			c.shard = k.Meter.Shard(w.Kind, w.Name)
		}
		c.Ctx, c.came = k.WaitStart(ctx, w), k.Elapsed()
		k.calls.add(c)
	}
	return c
}

// Waited ends the wait, and returns how long it was.
func (c *Call) Waited() time.Duration {
	if !c.keeper.Timed() {
		return 0
	}
	c.keeper.calls.remove(c)
	return max(c.keeper.Elapsed()-c.came, 0)
}

// Failed ends it without a hold.
func (c *Call) Failed(err error, how meter.Outcome) {
	waited := c.Waited()
	if c.shard != nil {
		c.shard.Failed(how, waited)
	}
	c.keeper.WaitEnd(c.Ctx, c.Wait, WaitEnd{Waited: waited, Err: err})
}

// Granted ends it with a hold that is in no line. Over ends that.
func (c *Call) Granted(ahead int) {
	path, waited := meter.Etcd, c.Waited()
	c.keeper.Granted(c.Kind, c.Name, waited)
	if !c.keeper.Timed() {
		return
	}
	if ahead == 0 {
		path = meter.Free
	}
	if c.shard != nil {
		c.shard.Granted(path, waited)
	}
	c.held, c.holds = c.keeper.Elapsed(), true
	c.keeper.calls.add(c)
	c.keeper.WaitEnd(c.Ctx, c.Wait, WaitEnd{Waited: waited, Path: path.String(), Ahead: ahead})
}

// Over ends that hold: given back, or lost by cause.
func (c *Call) Over(cause error) {
	var held time.Duration
	if timed := c.keeper.Timed(); timed {
		held = max(c.keeper.Elapsed()-c.held, 0)
		c.keeper.calls.remove(c)
	}
	if cause == nil {
		c.keeper.Released(c.Kind, c.Name, held)
	} else {
		c.keeper.Lost(c.Kind, c.Name, cause)
	}
	switch s := c.shard; {
	case s == nil:
	case cause == nil:
		s.Released(held)
	default:
		s.Lost(ReasonOf(cause), held)
	}
	c.keeper.HoldEnd(c.Ctx, c.Wait, HoldEnd{Held: held, Err: cause}, cause == nil)
}

// calls are those that wait, or hold outside of lines.
type calls struct {
	mu sync.Mutex
	in map[*Call]struct{}
}

func (cs *calls) add(c *Call) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.in == nil {
		cs.in = map[*Call]struct{}{}
	}
	cs.in[c] = struct{}{}
}

func (cs *calls) remove(c *Call) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	delete(cs.in, c)
}

func (cs *calls) census(c *meter.Census, now time.Duration) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for call := range cs.in {
		if call.holds {
			c.Hold(call.shard.Key, call.Units, max(now-call.held, 0))
		} else {
			c.Wait(call.shard.Key, call.Units, max(now-call.came, 0))
		}
	}
}
