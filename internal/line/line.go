package line

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keeper"
)

// ErrHeld and ErrQueueFull are exported to users by package lock.
var (
	ErrHeld      = errors.New("lock: somebody else is ahead")
	ErrQueueFull = errors.New("lock: too many are waiting")
)

// Options of one Acquire. They may differ between the callers of one line.
type Options struct {
	Handoffs   int           // local grants in a row while others wait
	Linger     time.Duration // how long an entry stays that nobody here wants at the moment
	MaxWaiters int           // how many may wait already; 0: any number
}

// Line is one name in one Session: its local line, and its place in etcd's.
type Line struct {
	keeper *keeper.Keeper
	table  *Table
	kind   string
	name   string
	prefix string
	end    string // of the range of all entries
	may    Rule

	mu      sync.Mutex
	queue   list.List // of *waiter
	hold    *Hold
	place   *place
	driving bool          // the driver runs
	wake    chan struct{} // for a driver that waits for a lease: somebody has left
	trouble error         // what etcd had against us last
	length  int64         // of etcd's line when we joined last
	slot    int           // lowest slot that is not taken by a stranger, under the lease slotOf
	slotOf  clientv3.LeaseID
	retired bool // taken out of the table

	view      *view
	viewTries int       // failed in a row
	viewAfter time.Time // not before
	warm      *time.Timer
	cooling   bool // warm runs

	lingerUntil time.Time
	linger      *time.Timer
}

// waiter is a call in the local line. It is answered once, under the line's mutex.
type waiter struct {
	opts  *Options
	ctx   context.Context
	try   bool
	at    *list.Element
	done  bool
	hold  *Hold
	err   error
	ready chan struct{}
}

func (w *waiter) answer(h *Hold, err error) {
	w.hold, w.err, w.done = h, err, true
	if w.ready != nil {
		close(w.ready)
	}
}

// acquire stands in the local line until it is granted, or ctx ends, or etcd refuses. again says that the line has
// been retired meanwhile.
func (l *Line) acquire(ctx context.Context, opts *Options, try bool) (h *Hold, again bool, err error) {
	w := &waiter{opts: opts, ctx: ctx, try: try}
	l.mu.Lock()
	if l.retired {
		l.mu.Unlock()
		return nil, true, nil
	}
	if err := l.admit(w); err != nil {
		l.mu.Unlock()
		return nil, false, err
	}
	w.at = l.queue.PushBack(w)
	l.proceed()
	if w.done { // the entry was here, and free
		l.mu.Unlock()
		return w.hold, false, w.err
	}
	w.ready = make(chan struct{})
	l.mu.Unlock()

	select {
	case <-w.ready:
		return w.hold, false, w.err
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	err = context.Cause(ctx)
	if l.trouble != nil {
		err = fmt.Errorf("%w: %w", err, l.trouble)
	}
	switch {
	case w.done && w.hold != nil: // granted at the same moment: the end of ctx wins, and the next one gets it
		w.hold.end(keeper.ErrNotHeld)
		l.proceed()
	case w.done:
	default:
		l.queue.Remove(w.at)
		l.proceed()
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
	return nil, false, err
}

// admit refuses who would have to wait and must not.
func (l *Line) admit(w *waiter) error {
	if l.keeper.Context().Err() != nil {
		return keeper.ErrClosed
	}
	if w.try && (l.hold != nil || l.queue.Len() > 0 || l.place != nil && l.place.state == queued) {
		return ErrHeld
	}
	if n := w.opts.MaxWaiters; n > 0 {
		if before := l.waitingAhead() + l.queue.Len(); before >= n {
			return fullError(before, n)
		}
	}
	return nil
}

func fullError(before, most int) error {
	return fmt.Errorf("%w: %d, at most %d may", ErrQueueFull, before, most)
}

// waitingAhead is how many wait in etcd before our entry: all that stand there but the holder.
func (l *Line) waitingAhead() int {
	p, v := l.place, l.view
	if p == nil || p.state != queued {
		return 0
	}
	n := int(p.count - 1)
	if v != nil && v.end != "" && v.ready && v.rev >= p.entry.Create {
		n = 0
		for _, e := range v.entries {
			if e.Create < p.entry.Create {
				n++
			}
		}
	}
	return max(n-1, 0)
}

// situation gathers what next depends on.
func (l *Line) situation() situation {
	s := situation{held: l.hold != nil, waiting: l.queue.Len()}
	if s.waiting > 0 {
		s.try = l.queue.Front().Value.(*waiter).try
	}
	p := l.place
	if p == nil {
		return s
	}
	s.place, s.gone, s.leaving = p.state, p.gone, p.leaving
	if p.state != first || s.held {
		return s
	}
	s.used, s.exposed = p.uses > 0, p.exposed
	if s.waiting > 0 {
		s.turn = p.passed >= l.queue.Front().Value.(*waiter).opts.Handoffs && l.othersWait() != no
	} else {
		s.linger = l.othersWait() != yes && time.Now().Before(l.lingerUntil)
	}
	return s
}

type answer int

const (
	maybe answer = iota
	no
	yes
)

// othersWait says whether other processes stand behind our entry, as far as the view shows.
func (l *Line) othersWait() answer {
	v, p := l.view, l.place
	switch {
	case v == nil || v.key != l.prefix || !v.ready || v.rev < p.entry.Create:
		return maybe
	case alone(v.entries, p.entry):
		return no
	}
	return yes
}

// proceed does what can be done at once, and leaves the rest to the driver. It is called after every change.
func (l *Line) proceed() {
	for next(l.situation()) == grant {
		if !l.grant() {
			break
		}
	}
	switch s := next(l.situation()); {
	case s == rest || s == wait && !l.place.check:
		l.stay()
		l.adjustView()
		l.retire()
	case !l.driving:
		l.driving = true
		if !l.keeper.Go(l.drive) {
			l.driving = false
			l.refuse(keeper.ErrClosed)
		}
	}
}

// stay tells a release whose entry lingers after all.
func (l *Line) stay() {
	if p := l.place; p != nil && !p.gone {
		p.settle(nil)
	}
}

// grant gives the entry to the first local waiter. It answers false if the lease cannot be trusted for long enough:
// then the driver has to renew it first.
func (l *Line) grant() bool {
	p := l.place
	if fresh, err := p.epoch.Fresh(); err != nil {
		l.lose(p, err)
		return true
	} else if !fresh {
		return false
	}
	w := l.queue.Remove(l.queue.Front()).(*waiter)
	if p.uses > 0 && l.othersWait() != no {
		p.passed++
	}
	p.uses++
	p.settle(nil) // a release that was about to delete the entry has given it away instead
	l.hold = &Hold{line: l, place: p, opts: w.opts, caller: w.ctx}
	w.answer(l.hold, nil)
	return true
}

// lose ends what hangs on p: its entry does not count any more.
func (l *Line) lose(p *place, cause error) {
	if l.place != p {
		return
	}
	l.forget(p)
	if h := l.hold; h != nil {
		h.end(cause)
		h.lost = cause
		if f := l.keeper.Hooks.Lost; f != nil && cause != keeper.ErrClosed {
			l.keeper.Go(func(context.Context) { f(l.kind, l.name, cause) })
		}
	}
	p.settle(cause)
}

// refuse answers everybody in the local line.
func (l *Line) refuse(err error) {
	for l.queue.Len() > 0 {
		l.queue.Remove(l.queue.Front()).(*waiter).answer(nil, err)
	}
}

// refuseTry answers the first in the local line if it will not wait. It may have left meanwhile.
func (l *Line) refuseTry() {
	if w := l.queue.Front(); w != nil && w.Value.(*waiter).try {
		l.queue.Remove(w).(*waiter).answer(nil, ErrHeld)
	}
}

// refuseFull answers those for whom the line turned out to be too long.
func (l *Line) refuseFull() {
	before := l.waitingAhead()
	for e := l.queue.Front(); e != nil; {
		w, following := e.Value.(*waiter), e.Next()
		if n := w.opts.MaxWaiters; n > 0 && before >= n {
			l.queue.Remove(e)
			w.answer(nil, fullError(before, n))
		} else {
			before++
		}
		e = following
	}
}
