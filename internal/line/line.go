package line

import (
	"container/list"
	"context"
	"errors"
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

// admitted are the options of a call that may wait, however many do by now.
func (o *Options) admitted() *Options {
	in := *o
	in.MaxWaiters = 0
	return &in
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
	others  report        // what the quorum said last of those behind our entry
	tries   int           // requests that failed in a row
	met     acquaintance  // who was before our entry last; see wonder
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
	relying     func()      // ends our reliance on the stream's silence; nil: there is none
	lookAgain   *time.Timer // see adjustTrust
	lookAt      time.Time   // when it fires; zero: it does not
}

// waiter is a call in the local line. It is answered once, under the line's mutex.
type waiter struct {
	opts  *Options
	ctx   context.Context
	at    *list.Element
	came  time.Duration // of a line that others may join
	hold  *Hold
	err   error
	ready chan struct{}
	try   bool
	in    bool // he may wait, whoever comes before him later
	done  bool
	again bool // to be asked of another line
}

func (w *waiter) answer(h *Hold, err error) {
	w.hold, w.err, w.done = h, err, true
	if w.ready != nil {
		close(w.ready)
	}
}

// stand puts w in the local line. It answers false if the line has been retired.
func (l *Line) stand(w *waiter) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.retired {
		return false
	}
	l.beCareful(w.opts)
	if err := l.admit(w); err != nil {
		w.answer(nil, err)
		return true
	}
	if l.rule.Joins != nil {
		w.came = l.keeper.Elapsed()
	}
	w.at = l.queue.PushBack(w)
	l.proceed()
	if !w.done { // else the entry was here, and free
		w.ready = make(chan struct{})
	}
	return true
}

// await waits until w is granted, or its ctx ends, or etcd refuses. again says that the line has been retired meanwhile.
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
	err = keeper.Because(context.Cause(w.ctx), l.trouble)
	switch {
	case w.done && w.hold != nil: // granted at the same moment: the end of ctx wins, and the next one gets it
		w.hold.end(keeper.ErrNotHeld)
		w.hold.place.restUntil = w.hold.restedUntil
		l.proceed()
	case w.done:
	default:
		err = l.waited(err)
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
		if opts != nil && l.rule.Joins != nil {
			behind := l.behind()
			s.joins, s.stale = behind == no, behind == maybe && l.mustAsk()
		}
	default:
		s.used, s.exposed, s.spent = p.uses > 0, p.exposed, p.turns.full()
		s.resting = !l.lent && (p.parking != 0 || !p.restUntil.IsZero() && time.Now().Before(p.restUntil))
		s.kept = p.kept
		if opts == nil {
			others := l.othersWait()
			s.linger = !l.retired && others != yes && time.Now().Before(l.lingerUntil)
			s.stale = others == maybe && l.mustAsk()
			break
		}
		if l.rule.Joins != nil {
			s.turn = l.behind() != no
		} else {
			s.turn = p.passed >= opts.Handoffs && l.othersWait() != no
		}
	}
	if p.state == first && opts != nil && opts.TakeoverDelay > 0 {
		s.suspect = len(p.departed) > 0
		s.early = !p.diedAt.IsZero() && time.Since(p.diedAt) < opts.TakeoverDelay
	}
	return s
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
			l.refuse(l.keeper.Closed())
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
	l.adjustTrust()
	l.retire()
}

// grant gives the entry to the first local waiter. It answers false if the lease cannot be trusted for long enough:
// then the driver has to renew it first.
func (l *Line) grant() bool {
	p := l.place
	fresh, now, err := p.epoch.Look()
	if err != nil {
		l.lose(p, err)
		return true
	}
	if !fresh {
		return false
	}
	w := l.queue.Remove(l.queue.Front()).(*waiter)
	if p.uses > 0 && l.othersWaitAt(now) != no {
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
	h := &Hold{line: l, place: p, opts: w.opts, caller: w.ctx, restedUntil: rested, number: p.turns.grant()}
	if l.rule.Joins != nil { // several hold at once
		h.lookAtToken()
	}
	l.holds = append(l.holds, h)
	w.answer(h, nil)
	return true
}

// lose ends what hangs on p: its entry does not count any more.
func (l *Line) lose(p *place, cause error) {
	if l.place != p {
		return
	}
	l.forget(p)
	for len(l.holds) > 0 {
		h := l.holds[len(l.holds)-1]
		h.end(cause)
		h.lost = cause
		if !l.lent { // the lender tells
			l.keeper.Lost(l.kind, l.name, cause)
		}
	}
	p.finish(cause)
	p.settle(cause)
	switch {
	case l.lent: // whether anything is still on its way, the lender knows
	case errors.Is(cause, keeper.ErrEntryGone): // as far as a watch can tell; it must not come back, and not stay
		l.forsake(p)
	default:
		p.free()
	}
}

// alarm has the line looked at again when the time of a holder who died before us is over, or a minimum hold is.
func (l *Line) alarm(p *place) {
	if p.state != first {
		return
	}
	var left time.Duration
	switch {
	case p.kept:
		left = time.Until(p.restUntil)
	case p.diedAt.IsZero() || l.queue.Len() == 0 || len(l.holds) > 0 && !l.joinable():
		return
	default:
		left = l.queue.Front().Value.(*waiter).opts.TakeoverDelay - time.Since(p.diedAt)
	}
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
