package line

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/fence"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/meter"
	"github.com/fenceline/fenceline/internal/queue"
)

// Hold is one grant. It ends once: by Release, or by loss. The line's mutex guards it. Of a hold on several lines, methods that take i are
// about the i-th.
type Hold struct {
	line    *Line
	attempt *attempt
	opts    *Options
	caller  context.Context
	from    time.Duration // when it was granted, on the keeper's clock
	until   time.Duration // and when it ended
	wait    *keeper.Wait  // hooks are told of its end; nil: they are not
	rested  time.Duration // the entry's restUntil before this grant
	out     func()        // called at its end, and
	demoted func()        // called when it has become a reader's; with the line's mutex held. They may be nil

	ended    error // why; nil while it is held
	lost     error // why, if it was not released
	released bool
	told     bool            // a Release has told how it ended
	metered  bool            // the line's shards have counted the grant, and are to count the end
	path     meter.Path      // how it came about
	number   int             // of the grant, under its entry
	token    fence.Token     // 0: nobody has asked
	exposed  bool            // somebody has looked at the entry by it
	ctx      context.Context // made when it is asked for
	cancel   context.CancelCauseFunc
}

// finish tells those who run under the hold that it has ended.
func (h *Hold) finish(cause error) {
	if h.cancel != nil {
		h.cancel(cause)
	}
	if h.out != nil {
		h.out()
		h.out = nil
	}
}

// check notices a lease whose time is over, also before the keeper's timer has. It is called with the mutex held.
func (h *Hold) check() {
	if h.ended == nil && h.attempt.epoch.Err() != nil {
		h.line.step(&event{what: onTick})
	}
}

// Context ends with the hold.
func (h *Hold) Context() context.Context {
	h.line.mu.Lock()
	defer h.line.mu.Unlock()
	h.check()
	if h.ctx == nil {
		ctx, cancel := context.WithCancelCause(context.WithoutCancel(h.caller))
		if h.ended != nil {
			cancel(h.ended)
		}
		h.ctx, h.cancel = holdContext{ctx, h}, cancel
	}
	return h.ctx
}

// holdContext looks at the clock when it is asked for its error: in a process that was stopped, that question can come before the timer that
// ends the context.
type holdContext struct {
	context.Context
	hold *Hold
}

func (c holdContext) Err() error {
	if c.Context.Err() == nil {
		c.hold.line.mu.Lock()
		c.hold.check()
		c.hold.line.mu.Unlock()
	}
	return c.Context.Err()
}

// Token is that of this grant, the same each time.
func (h *Hold) Token(i int) fence.Token {
	h.line.mu.Lock()
	defer h.line.mu.Unlock()
	h.lookAtToken()
	return fence.TokenAt(h.attempt.spots[i].entry.Create, h.token.Turn())
}

// Key exposes the entry and returns its key, or "" after a release without anybody having looked.
func (h *Hold) Key(i int) string {
	h.line.mu.Lock()
	defer h.line.mu.Unlock()
	if !h.expose() {
		return ""
	}
	return h.attempt.spots[i].key
}

// Inherited says that the entry was put by an earlier session of the lease, with a value of its own.
func (h *Hold) Inherited() bool {
	h.line.mu.Lock()
	defer h.line.mu.Unlock()
	return h.attempt.inherited
}

// Asked is closed once somebody wants the entry given back.
func (h *Hold) Asked() <-chan struct{} {
	h.line.mu.Lock()
	defer h.line.mu.Unlock()
	a := h.attempt
	if a.asked == nil {
		a.asked = make(chan struct{})
		if a.isAsked {
			close(a.asked)
		}
	}
	return a.asked
}

// Lease is the lease that the hold hangs on.
func (h *Hold) Lease(i int) clientv3.LeaseID { return h.attempt.spots[i].lease }

// Guard exposes the entry and returns comparisons that succeed while the entry exists. A shared entry may outlive this hold. After a release
// without anyone having looked they never succeed.
func (h *Hold) Guard(i int) []clientv3.Cmp {
	h.line.mu.Lock()
	defer h.line.mu.Unlock()
	s := &h.attempt.spots[i]
	if !h.expose() {
		return []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(s.key), "=", -1)}
	}
	return s.guard(h.line.m.tracks[i].policy.Values)
}

// GuardAll says that all entries still stand, in one comparison each: a transaction has room for so many only. None of them may ever have been
// rewritten.
func (h *Hold) GuardAll() []clientv3.Cmp {
	var cmps []clientv3.Cmp
	for i := range h.attempt.spots {
		cmps = append(cmps, h.attempt.spots[i].untouched())
	}
	return cmps
}

// Deadline is until when the hold is trusted unless its lease is renewed; the zero time once it has ended.
func (h *Hold) Deadline() time.Time {
	h.line.mu.Lock()
	defer h.line.mu.Unlock()
	h.check()
	if h.ended != nil {
		return time.Time{}
	}
	return time.Now().Add(h.attempt.epoch.Remaining())
}

// grace is how long an answer is awaited by a Release whose ctx has ended already.
const grace = 100 * time.Millisecond

// Release gives the entry to the next local waiter, keeps it for a while, or deletes it. The request to etcd is the line's own: ctx bounds only
// how long its answer is awaited. A Release of a private hold that failed may be repeated: what an earlier one has set going, it waits for.
func (h *Hold) Release(ctx context.Context) error {
	l := h.line
	l.mu.Lock()
	h.check()
	switch {
	case h.told, h.released && !l.m.private:
		l.mu.Unlock()
		return keeper.ErrNotHeld
	case h.ended != nil && h.lost != nil:
		h.released, h.told = true, true
		l.mu.Unlock()
		return h.lost
	}
	first := !h.released
	l.step(&event{what: onRelease, h: h})
	fate := l.m.fate
	l.mu.Unlock()
	if first {
		h.traceRelease()
		h.Returned(true)
	}
	if fate == nil {
		return nil
	}
	err := awaitFate(ctx, fate)
	if err == nil || errors.Is(err, keeper.ErrLost) {
		l.mu.Lock()
		h.told = true
		l.mu.Unlock()
	}
	return err
}

var errUnconfirmed = errors.New("release not confirmed, it goes on in the background")

func unconfirmed(ctx context.Context) error {
	return fmt.Errorf("%w: %w", errUnconfirmed, context.Cause(ctx))
}

// HandOver ends the hold and gives its entry to caller, without a word to etcd, unless the entry cannot be handed on: somebody has looked at
// it, it has no more tokens, or its lease has not long enough to live. Then nothing happens. What was to be called at the hold's end is called
// at the next one's. Returned is to be called afterwards.
func (h *Hold) HandOver(caller context.Context) (*Hold, bool) {
	l := h.line
	l.mu.Lock()
	ev := &event{what: onHandOver, h: h, caller: caller}
	l.step(ev)
	l.mu.Unlock()
	if ev.next == nil {
		return nil, false
	}
	h.traceRelease()
	return ev.next, true
}

// OnEnd has out called once when the hold ends, however it does, or now if it has. out must not block, nor call the hold.
func (h *Hold) OnEnd(out func()) { h.OnChange(out, nil) }

// OnChange is OnEnd that also has demoted called when the hold becomes a reader's.
func (h *Hold) OnChange(out, demoted func()) {
	h.line.mu.Lock()
	defer h.line.mu.Unlock()
	if h.ended != nil {
		out()
		return
	}
	h.out, h.demoted = out, demoted
}

// DeleteWith makes key, on the lease of the first entry, part of the hold: the transaction that deletes the entries deletes it too, whenever
// that is. It returns false if they are on their way out already. Whoever puts that key compares the entries.
func (h *Hold) DeleteWith(key string) bool {
	h.line.mu.Lock()
	defer h.line.mu.Unlock()
	if h.ended != nil {
		return false
	}
	if a := h.attempt; !slices.Contains(a.with, key) {
		a.with = append(a.with, key)
	}
	return true
}

// Forget says that such a key is gone.
func (h *Hold) Forget(key string) {
	h.line.mu.Lock()
	defer h.line.mu.Unlock()
	a := h.attempt
	a.with = slices.DeleteFunc(a.with, func(k string) bool { return k == key })
}

// traceRelease tells the trace that the hold was given back.
func (h *Hold) traceRelease() {
	if h.line.keeper.Hooks.Released == nil {
		return
	}
	for i := range h.line.m.tracks {
		ref := h.line.m.tracks[i].ref
		h.line.keeper.Released(ref.Kind, ref.Name, h.until-h.from)
	}
}

// ErrDemoted says that a hold is a reader's already.
var ErrDemoted = errors.New("it is a read hold")

// Rewrite changes the value of the entry, which keeps its place, and with it its token. When ctx ends first, the request goes on.
func (h *Hold) Rewrite(ctx context.Context, value string) error { return h.rewrite(ctx, value, false) }

// Demote makes a writer's hold a reader's. When ctx ends first, the request goes on, and the hold has to count as a reader's from then on.
func (h *Hold) Demote(ctx context.Context) error { return h.rewrite(ctx, queue.ReadValue, true) }

func (h *Hold) rewrite(ctx context.Context, value string, demote bool) error {
	for {
		e, own, err := h.startEdit(value, demote)
		if err != nil {
			return err
		}
		select {
		case <-e.over:
			if own {
				return <-e.done
			}
		case <-ctx.Done():
			if own {
				return fmt.Errorf("not confirmed, it goes on in the background: %w", context.Cause(ctx))
			}
			return context.Cause(ctx)
		}
	}
}

// startEdit begins an edit, or returns one that is under way, of another call.
func (h *Hold) startEdit(value string, demote bool) (e *edit, own bool, err error) {
	l, a := h.line, h.attempt
	l.mu.Lock()
	defer l.mu.Unlock()
	h.check()
	switch {
	case h.lost != nil && !h.released:
		return nil, false, h.lost
	case h.ended != nil:
		return nil, false, keeper.ErrNotHeld
	case demote && (l.m.shares() || a.edit != nil):
		return nil, false, ErrDemoted
	case a.edit != nil:
		return a.edit, false, nil
	}
	e = &edit{value: value, demote: demote, done: make(chan error, 1), over: make(chan struct{})}
	l.step(&event{what: onChange, h: h, edit: e})
	return e, true, nil
}
