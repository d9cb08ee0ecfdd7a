package line

import (
	"fmt"
)

// admit refuses who would have to wait and must not.
func (l *Line) admit(w *waiter) error {
	if l.keeper.Context().Err() != nil {
		return l.keeper.Closed()
	}
	if w.try && l.closed() {
		return ErrHeld
	}
	n, known := w.opts.MaxWaiters, l.place != nil && l.place.state != asked
	w.in = n == 0 || known // else the enqueue's answer tells
	if n > 0 && (l.rule.Joins == nil || l.closed()) {
		before := l.waitingAhead() + l.queue.Len()
		if !known || l.place.state == first && len(l.holds) == 0 { // the first of these may be about to hold
			before = max(before-1, 0)
		}
		if before >= n {
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

// joinable says whether those who hold may be joined by another here.
func (l *Line) joinable() bool {
	return len(l.holds) > 0 && l.rule.Joins != nil && l.behind() == no
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
	if p := l.place; p != nil {
		l.refuseTriesAs(&heldError{revision: p.entry.Create})
	}
}

func (l *Line) refuseTriesAs(err error) {
	for e := l.queue.Front(); e != nil; {
		w, following := e.Value.(*waiter), e.Next()
		if w.try {
			l.queue.Remove(e)
			w.answer(nil, err)
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

// refuseFull answers those for whom the line turned out to be too long. Whoever may wait, may wait for good: that the
// entry goes to the back of the line, or is lost and made again, is not his affair.
func (l *Line) refuseFull() {
	before := l.waitingAhead()
	if l.place.state == first && len(l.holds) == 0 { // the first of those here does not wait
		before = -1
	}
	for e := l.queue.Front(); e != nil; {
		w, following := e.Value.(*waiter), e.Next()
		if n := w.opts.MaxWaiters; n > 0 && !w.in && before >= n {
			l.queue.Remove(e)
			w.answer(nil, fullError(before, n))
		} else {
			w.in = true
			before++
		}
		e = following
	}
}
