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
)

// Hold is one grant. It ends once: by Release, or by loss. The line's mutex guards it.
type Hold struct {
	line        *Line
	place       *place
	opts        *Options
	caller      context.Context
	since       time.Time // zero without a trace
	restedUntil time.Time // the place's restUntil before this grant
	out         func()    // called at its end, and
	demoted     func()    // called when it has become a reader's; with the line's mutex held. They may be nil

	ended    error // why; nil while it is held
	lost     error // why, if it was not released
	released bool
	number   int             // of the grant, under its entry
	token    fence.Token     // 0: nobody has asked
	exposed  bool            // somebody has looked at the entry by it
	ctx      context.Context // made when it is asked for
	cancel   context.CancelCauseFunc
}

// end marks the hold as over.
func (h *Hold) end(cause error) {
	h.ended = cause
	if i := slices.Index(h.line.holds, h); i >= 0 {
		h.line.holds = slices.Delete(h.line.holds, i, i+1)
	}
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
	if h.ended == nil {
		if err := h.place.epoch.Err(); err != nil {
			h.line.lose(h.place, err)
		}
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

// holdContext looks at the clock when it is asked for its error: in a process that was stopped, that question can
// come before the timer that ends the context.
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
func (h *Hold) Token() fence.Token {
	h.line.mu.Lock()
	defer h.line.mu.Unlock()
	h.lookAtToken()
	return h.token
}

func (h *Hold) lookAtToken() {
	if h.token == 0 {
		h.token = fence.TokenAt(h.place.entry.Create, h.place.turns.of(h.number))
	}
}

// expose keeps the entry from being handed on, since somebody has looked at it. It returns false if the hold was released before anybody
// had: then the entry may be somebody else's.
func (h *Hold) expose() bool {
	if h.ended == nil || h.lost != nil { // a lost entry is never passed on
		h.place.exposed, h.exposed = true, true
	}
	return h.exposed
}

// Key exposes the entry and returns its key, or "" after a release without anybody having looked.
func (h *Hold) Key() string {
	h.line.mu.Lock()
	defer h.line.mu.Unlock()
	if !h.expose() {
		return ""
	}
	return h.place.key
}

// Lease is the lease that the hold hangs on.
func (h *Hold) Lease() clientv3.LeaseID { return h.place.lease }

// Guard exposes the entry and answers the comparisons that hold while it stands, which is longer than the hold if it
// is shared. After a release without anyone
// having looked they never hold.
func (h *Hold) Guard() []clientv3.Cmp {
	h.line.mu.Lock()
	defer h.line.mu.Unlock()
	if !h.expose() {
		return []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(h.place.key), "=", -1)}
	}
	return h.place.guard(h.line.rule.Values)
}

// Deadline is until when the hold is trusted unless its lease is renewed; the zero time once it has ended.
func (h *Hold) Deadline() time.Time {
	h.line.mu.Lock()
	defer h.line.mu.Unlock()
	h.check()
	if h.ended != nil {
		return time.Time{}
	}
	return time.Now().Add(h.place.epoch.Remaining())
}

// grace is how long an answer is awaited by a Release whose ctx has ended already.
const grace = 100 * time.Millisecond

// Release gives the entry to the next local waiter, keeps it for a while, or deletes it. The request to etcd is the
// line's own: ctx bounds only how long its answer is awaited.
func (h *Hold) Release(ctx context.Context) error {
	l := h.line
	l.mu.Lock()
	h.check()
	if h.released {
		l.mu.Unlock()
		return keeper.ErrNotHeld
	}
	if l.lent {
		l.mu.Unlock()
		return ErrOfSet
	}
	h.released = true
	if h.ended != nil {
		l.mu.Unlock()
		return h.ended
	}
	h.end(keeper.ErrNotHeld)
	p := h.place
	l.lingerFor(h.opts.Linger)
	var fate chan error // nil: nothing to wait for
	if s := next(l.situation()); s == drop || s == swap || s == park || s == rewriting || p.gone {
		fate = make(chan error, 1)
		p.fates = append(p.fates, fate)
	}
	l.proceed()
	l.mu.Unlock()
	l.released(h)
	if fate == nil {
		return nil
	}
	return awaitFate(ctx, fate)
}

// HandOver ends the hold and gives its entry to caller, without a word to etcd, unless the entry cannot be handed on: somebody has looked at
// it, it has no more tokens, or its lease has not long enough to live. Then nothing happens. What was to be called at the hold's end is called
// at the next one's.
func (h *Hold) HandOver(caller context.Context) (*Hold, bool) {
	l := h.line
	l.mu.Lock()
	h.check()
	p := h.place
	if h.released || h.ended != nil || l.lent || p.exposed || p.turns.full() || p.gone || p.leaving || p.rewrite != nil || l.queue.Len() > 0 {
		l.mu.Unlock()
		return nil, false
	}
	if fresh, _, err := p.epoch.Look(); err != nil || !fresh {
		l.mu.Unlock()
		return nil, false
	}
	next := &Hold{line: l, place: p, opts: h.opts, caller: caller, number: p.turns.grant(), out: h.out}
	h.released, h.out = true, nil
	h.end(keeper.ErrNotHeld)
	p.uses++
	l.holds = append(l.holds, next)
	l.mu.Unlock()
	l.released(h)
	return next, true
}

var errUnconfirmed = errors.New("release not confirmed, it goes on in the background")

func awaitFate(ctx context.Context, fate <-chan error) error {
	var err error
	select {
	case err = <-fate:
	case <-ctx.Done():
		t := time.NewTimer(grace)
		defer t.Stop()
		select {
		case err = <-fate:
		case <-t.C:
			return fmt.Errorf("%w: %w", errUnconfirmed, context.Cause(ctx))
		}
	}
	if errors.Is(err, keeper.ErrExpired) || errors.Is(err, keeper.ErrClosed) {
		return nil // it was released in time; that etcd never answered changes nothing for the holder
	}
	return err
}

// settle tells a Release how its entry ended.
func (p *place) settle(err error) {
	for _, fate := range p.fates {
		fate <- err
	}
	p.fates = nil
}

func (l *Line) released(h *Hold) {
	if !h.since.IsZero() {
		l.keeper.Released(l.kind, l.name, time.Since(h.since))
	}
}

// lingerFor keeps the entry for d from here on.
func (l *Line) lingerFor(d time.Duration) {
	if d == 0 {
		l.lingerUntil = time.Time{}
		return
	}
	l.lingerUntil = time.Now().Add(d)
	if l.linger != nil {
		l.linger.Reset(d)
		return
	}
	l.linger = time.AfterFunc(d, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.proceed()
	})
}
