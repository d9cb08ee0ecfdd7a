package line

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

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

	MinHold       time.Duration // nobody gets the entry's place sooner after the grant
	TakeoverDelay time.Duration // the wait after a holder that died
}

// Line is one name in one Session: its local line, and its place in etcd's.
type Line struct {
	keeper *keeper.Keeper
	table  *Table
	kind   string
	name   string
	prefix string
	end    string // of the range of all entries
	lane   int
	lent   bool   // see situation
	broken func() // called when an entry that is lent has gone

	mu      sync.Mutex
	rule    Rule
	queue   list.List // of *waiter
	holds   []*Hold   // in no order; more than one only if the rule joins them
	place   *place
	driving bool          // the driver runs
	wake    chan struct{} // for a driver that waits for a lease: somebody has left
	trouble error         // what etcd had against us last
	length  int64         // of etcd's line when we joined last
	careful bool          // a caller has asked for a TakeoverDelay
	retired bool          // taken out of the table

	view      *view
	side      *side
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
	again bool // to be asked of another line
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
	if !l.stand(w) {
		return nil, true, nil
	}
	return l.await(w)
}

// stand puts w in the local line. It answers false if the line has been retired.
func (l *Line) stand(w *waiter) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.retired {
		return false
	}
	l.beCareful(w.opts)
	l.doubt()
	if err := l.admit(w); err != nil {
		w.answer(nil, err)
		return true
	}
	w.at = l.queue.PushBack(w)
	l.proceed()
	if !w.done { // else the entry was here, and free
		w.ready = make(chan struct{})
	}
	return true
}

// await waits for w's answer.
func (l *Line) await(w *waiter) (h *Hold, again bool, err error) {
	if w.ready == nil {
		return w.hold, w.again, w.err
	}
	select {
	case <-w.ready:
		return w.hold, w.again, w.err
	case <-w.ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	err = context.Cause(w.ctx)
	if l.trouble != nil {
		err = fmt.Errorf("%w: %w", err, l.trouble)
	}
	switch {
	case w.done && w.hold != nil: // granted at the same moment: the end of ctx wins, and the next one gets it
		w.hold.end(keeper.ErrNotHeld)
		w.hold.place.restUntil = w.hold.restedUntil
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

// situation gathers what next depends on.
func (l *Line) situation() situation {
	s := situation{lent: l.lent, held: len(l.holds) > 0, waiting: l.queue.Len()}
	var opts *Options // of the first who waits here
	if s.waiting > 0 {
		w := l.queue.Front().Value.(*waiter)
		s.try, opts = w.try, w.opts
	}
	p := l.place
	if p == nil {
		return s
	}
	s.place, s.gone, s.leaving, s.rewrite = p.state, p.gone, p.leaving, p.rewrite != nil
	switch {
	case p.state != first:
	case s.held:
		s.joins = opts != nil && l.joinable()
	default:
		s.used, s.exposed = p.uses > 0, p.exposed
		s.resting = !l.lent && (p.parking != 0 || !p.restUntil.IsZero() && time.Now().Before(p.restUntil))
		if opts == nil {
			s.linger = !l.retired && l.othersWait() != yes && time.Now().Before(l.lingerUntil)
			break
		}
		s.suspect = opts.TakeoverDelay > 0 && len(p.departed) > 0
		s.early = opts.TakeoverDelay > 0 && !p.diedAt.IsZero() && time.Since(p.diedAt) < opts.TakeoverDelay
		if l.rule.Joins != nil {
			s.turn = l.behind() != no
		} else {
			s.turn = p.passed >= opts.Handoffs && l.othersWait() != no
		}
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
	if l.rule.Joins != nil && len(l.holds) > 0 && l.place != nil && l.closed() {
		l.refuseTries()
	}
	for next(l.situation()) == grant {
		if !l.grant() {
			break
		}
	}
	switch s := next(l.situation()); {
	case s == rest || s == wait && !l.place.check:
		l.settled()
	case !l.driving:
		l.driving = true
		if !l.keeper.Go(l.drive) {
			l.driving = false
			l.refuse(keeper.ErrClosed)
		}
	}
}

// settled is called when there is nothing to do for the moment.
func (l *Line) settled() {
	if p := l.place; p != nil && !p.gone {
		p.settle(nil) // a release whose entry lingers after all
		l.alarm(p)
	}
	l.adjustView()
	l.retire()
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
	rested := p.restUntil
	if d := w.opts.MinHold; d > 0 {
		if until := time.Now().Add(d); until.After(p.restUntil) {
			p.restUntil = until
		}
	}
	h := &Hold{line: l, place: p, opts: w.opts, caller: w.ctx, restedUntil: rested}
	l.holds = append(l.holds, h)
	w.answer(h, nil)
	return true
}

// lose ends what hangs on p: its entry does not count any more.
func (l *Line) lose(p *place, cause error) {
	if l.place != p {
		return
	}
	if p.unsure && errors.Is(cause, keeper.ErrEntryGone) { // an enqueue that is still on its way must not bring it back
		l.forget(p)
		l.forsake(p)
	} else {
		l.vacate(p)
	}
	for len(l.holds) > 0 {
		h := l.holds[len(l.holds)-1]
		h.end(cause)
		h.lost = cause
		if f := l.keeper.Hooks.Lost; f != nil && cause != keeper.ErrClosed {
			l.keeper.Go(func(context.Context) { f(l.kind, l.name, cause) })
		}
	}
	p.finish(cause)
	p.settle(cause)
}

// alarm has the line looked at again when the time of a holder who died before us is over.
func (l *Line) alarm(p *place) {
	if p.state != first || p.diedAt.IsZero() || len(l.holds) > 0 || l.queue.Len() == 0 {
		return
	}
	left := l.queue.Front().Value.(*waiter).opts.TakeoverDelay - time.Since(p.diedAt)
	if left <= 0 {
		return
	}
	l.refuseTries()
	if p.timer != nil {
		p.timer.Reset(left)
		return
	}
	p.timer = time.AfterFunc(left, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.proceed()
	})
}
