package line

import (
	"context"
	"errors"
	"time"

	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/meter"
)

// What the Session's meter and hooks are told of a line. The meter counts with the line's mutex held, by the times of the machine; hooks are
// the user's, and are called without.

// Wait is a call that wants to hold in the line, as hooks are told of it.
func (r *Ref) Wait(try bool) keeper.Wait {
	return keeper.Wait{Kind: r.Kind, Name: r.Name, Mode: r.Mode, Units: max(r.Units, 1), Try: try}
}

// GrantedTo tells that call, which was not told of in the line, has got the hold.
func (h *Hold) GrantedTo(call *keeper.Call) { h.granted(call.Ctx, call.Wait, call.Waited()) }

// OutcomeOf says how a call ended that returned err.
func OutcomeOf(err error) meter.Outcome {
	switch {
	case errors.Is(err, ErrHeld):
		return meter.Held
	case errors.Is(err, ErrQueueFull):
		return meter.Limit
	}
	return keeper.OutcomeOf(err)
}

// granted tells that somebody has got a hold that was not told of in the line.
func (h *Hold) granted(ctx context.Context, wait keeper.Wait, waited time.Duration) {
	l := h.line
	if l.shards != nil {
		l.mu.Lock()
		l.countGrant(h, waited)
		if h.ended != nil {
			l.ended(h)
		}
		l.mu.Unlock()
	}
	h.tell(ctx, wait, waited)
}

// tell tells hooks of the same: of the end of the wait before that of the hold.
func (h *Hold) tell(ctx context.Context, wait keeper.Wait, waited time.Duration) {
	k := h.line.keeper
	h.tellGranted(waited)
	if k.Hooks.WaitEnd != nil {
		h.tellWaitEnd(ctx, wait, waited)
	}
	if k.Hooks.HoldEnd != nil {
		h.line.mu.Lock()
		h.caller, h.wait = ctx, &wait
		if h.ended != nil {
			h.tellEnd()
		}
		h.line.mu.Unlock()
	}
}

func (h *Hold) tellWaitEnd(ctx context.Context, wait keeper.Wait, waited time.Duration) {
	end := keeper.WaitEnd{Waited: waited, Path: h.path.String()}
	h.line.mu.Lock()
	free := h.from
	for i := range h.attempt.spots {
		s := &h.attempt.spots[i]
		end.Ahead = max(end.Ahead, s.front)
		if h.path == meter.Etcd {
			free = min(free, s.since)
		}
	}
	h.line.mu.Unlock()
	if h.path != meter.Free {
		end.Idle = max(h.line.keeper.Elapsed()-free, 0)
	}
	h.line.keeper.WaitEnd(ctx, wait, end)
}

func (h *Hold) tellGranted(waited time.Duration) {
	l := h.line
	if l.keeper.Hooks.Granted == nil {
		return
	}
	for i := range l.m.tracks {
		ref := l.m.tracks[i].ref
		l.keeper.Granted(ref.Kind, ref.Name, waited)
	}
}

// countGrant counts a grant, with the mutex held, as all that follows.
func (l *Line) countGrant(h *Hold, waited time.Duration) {
	if l.shards == nil {
		return
	}
	h.metered = true
	if h.path != meter.Etcd && l.brief.Granted(h.path, waited) {
		return
	}
	for i, s := range l.shards {
		s.Granted(h.path, waited)
		if h.path == meter.Etcd {
			s.HandedOver(meter.Etcd, max(h.from-h.attempt.spots[i].since, 0))
		}
	}
}

// countFailed counts a call that ended without a hold. l is nil if it never stood in a line, since its ctx had ended.
func (r *Ref) countFailed(l *Line, w *waiter, err error) {
	switch m := r.Keeper.Meter; {
	case l != nil:
		l.countFailed(w, err)
	case m != nil:
		m.Shard(r.Kind, r.Name).Failed(OutcomeOf(err), 0)
	}
}

// countFailed counts that w ended without a hold.
func (l *Line) countFailed(w *waiter, err error) {
	if !w.told {
		return
	}
	how := OutcomeOf(err)
	for _, s := range l.shards {
		s.Failed(how, w.took)
	}
}

// ended counts and tells the end of a hold.
func (l *Line) ended(h *Hold) {
	if h.metered {
		h.metered = false
		if h.ended == keeper.ErrNotHeld && l.brief.Released(h.until-h.from) {
			return
		}
		for _, s := range l.shards {
			if h.ended == keeper.ErrNotHeld {
				s.Released(h.until - h.from)
			} else {
				s.Lost(keeper.ReasonOf(h.ended), h.until-h.from)
			}
		}
	}
	if h.ended != keeper.ErrNotHeld { // else whoever gives it back tells
		h.tellEnd()
	}
}

// countBrief has counted what was gathered.
func (l *Line) countBrief() {
	for _, s := range l.shards {
		b := l.brief // each has all of it
		s.Brief(&b)
	}
	l.brief = meter.Brief{}
}

// tellEnd tells hooks that a hold was lost.
func (h *Hold) tellEnd() {
	if h.wait == nil {
		return
	}
	h.line.keeper.HoldEnd(h.caller, *h.wait, keeper.HoldEnd{Held: h.until - h.from, Err: h.ended}, false)
	h.wait = nil
}

// Returned tells hooks that it was given back: on this goroutine if no mutex is held.
func (h *Hold) Returned(unlocked bool) {
	if k := h.line.keeper; k.Hooks.HoldEnd == nil {
		return
	}
	h.line.mu.Lock()
	w, ctx, held := h.wait, h.caller, h.until-h.from
	h.wait = nil
	h.line.mu.Unlock()
	if w != nil {
		h.line.keeper.HoldEnd(ctx, *w, keeper.HoldEnd{Held: held}, unlocked)
	}
}

// census tells what holds and waits in the lines of a Session. Of those who are not told of here, others tell: see Ref.AcquireUntold.
func (t *Table) census(c *meter.Census) {
	t.mu.Lock()
	lines := make([]*Line, 0, len(t.lines)+len(t.private))
	for _, l := range t.lines {
		lines = append(lines, l)
	}
	for l := range t.private {
		lines = append(lines, l)
	}
	t.mu.Unlock()
	for _, l := range lines {
		l.count(c)
	}
}

func (l *Line) count(c *meter.Census) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.countBrief()
	now := l.keeper.Elapsed()
	for i := range l.m.tracks {
		ref, of := l.m.tracks[i].ref, l.shards[i].Key
		for _, h := range l.m.holds {
			if h.metered {
				c.Hold(of, max(ref.Units, 1), max(now-h.from, 0))
			}
		}
		for e := l.m.queue.Front(); e != nil; e = e.Next() {
			if w := e.Value.(*waiter); w.told {
				c.Wait(of, max(ref.Units, 1), max(w.took+now-w.came, 0))
			}
		}
	}
}

// begin and end keep the lines of holds on several in sight of a census.
func (t *Table) begin(l *Line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.private[l] = true
}

func (t *Table) end(l *Line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.private, l)
}
