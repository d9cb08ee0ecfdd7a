package line

import (
	"fmt"
	"time"

	"github.com/fenceline/fenceline/internal/keeper"
)

// admit refuses who would have to wait and must not.
func (l *Line) admit(w *waiter) error {
	if l.keeper.Context().Err() != nil {
		return keeper.ErrClosed
	}
	if w.try && l.closed() {
		return ErrHeld
	}
	if n := w.opts.MaxWaiters; n > 0 && (l.rule.Joins == nil || l.closed()) {
		if before := l.waitingAhead() + l.queue.Len(); before >= n {
			return fullError(before, n)
		}
	}
	return nil
}

// closed says whether somebody is ahead of all who come.
func (l *Line) closed() bool {
	if l.place != nil && l.place.state == queued {
		return true
	}
	if l.rule.Joins != nil {
		return len(l.holds) > 0 && l.behind() == yes
	}
	return len(l.holds) > 0 || l.queue.Len() > 0
}

// doubt drops a view that nothing has confirmed for a while, before anyone joins another on its word: a connection that
// has died in silence tells of no writer.
func (l *Line) doubt() {
	v := l.view
	if l.rule.Joins != nil && len(l.holds) > 0 && v != nil && v.end != "" && v.ready && time.Since(v.loaded) > l.patience() {
		l.closeView()
	}
}

// patience is how long we go without asking etcd, when a watch should have told.
func (l *Line) patience() time.Duration { return max(l.keeper.TTL/2, 5*time.Second) }

// joinable says whether those who hold may be joined by another here.
func (l *Line) joinable() bool {
	return len(l.holds) > 0 && l.rule.Joins != nil && l.behind() == no
}

// behind says whether somebody stands behind our entry who keeps others from joining it.
func (l *Line) behind() answer {
	v, p := l.view, l.place
	if v == nil || v.key != l.prefix || !v.ready || v.rev < p.entry.Create {
		return maybe
	}
	for _, e := range v.entries {
		if !l.rule.Joins(e) {
			return yes
		}
	}
	return no
}

func fullError(before, most int) error {
	return fmt.Errorf("%w: %d, at most %d may", ErrQueueFull, before, most)
}

// waitingAhead is how many wait in etcd before our entry.
func (l *Line) waitingAhead() int {
	p, v := l.place, l.view
	if p == nil || p.state != queued {
		return 0
	}
	if v != nil && v.end != "" && v.ready && v.rev >= p.entry.Create {
		return l.rule.waiting(v.entries, p.entry)
	}
	return p.waiting
}

// refuse answers everybody in the local line.
func (l *Line) refuse(err error) {
	for l.queue.Len() > 0 {
		l.queue.Remove(l.queue.Front()).(*waiter).answer(nil, err)
	}
}

// refuseTries answers those who will not wait, now that it is known that they would have to.
func (l *Line) refuseTries() {
	for e := l.queue.Front(); e != nil; {
		w, following := e.Value.(*waiter), e.Next()
		if w.try {
			l.queue.Remove(e)
			w.answer(nil, ErrHeld)
		}
		e = following
	}
}

// refuseHopeless answers those who would wait for ever.
func (l *Line) refuseHopeless() {
	if l.rule.Refuse == nil {
		return
	}
	if err := l.rule.Refuse(); err != nil {
		l.refuse(err)
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
