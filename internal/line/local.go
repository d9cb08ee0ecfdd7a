package line

import (
	"context"
	"fmt"
	"slices"

	"github.com/fenceline/fenceline/fence"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/meter"
)

// want puts w in the queue.
func (m *machine) want(w *waiter) {
	w.came = m.at.now
	for i := range m.tracks {
		m.fear(i, m.options(w, i))
	}
	if err := m.admit(w); err != nil {
		m.reply(w, nil, err)
		return
	}
	w.at = m.queue.PushBack(w)
}

// reply answers w.
func (m *machine) reply(w *waiter, h *Hold, err error) {
	w.hold, w.err, w.done = h, err, true
	w.took += m.at.now - w.came
	m.effect(effect{do: doReply, w: w})
}

// cancel is w's end, if it has not been answered. If it was granted at the same moment, the next one gets the hold.
func (m *machine) cancel(w *waiter) {
	switch {
	case w.done && w.hold != nil:
		h := w.hold
		if h.ended != nil {
			return
		}
		m.end(h, keeper.ErrNotHeld)
		h.released = true
		for i := range h.attempt.spots {
			h.attempt.spots[i].restUntil = h.rested
		}
	case !w.done:
		m.queue.Remove(w.at)
		w.done = true
		w.took += m.at.now - w.came
	}
}

// admit refuses one who would have to wait and must not.
func (m *machine) admit(w *waiter) error {
	if m.closed != nil {
		return m.closed
	}
	if w.try && m.isClosed() {
		return ErrHeld
	}
	if m.private {
		return nil
	}
	n, known := w.opts.MaxWaiters, m.attempt != nil && m.attempt.stage != sent
	w.in = n == 0 || known // else the enqueue's answer tells
	if n > 0 && (!m.shares() || m.isClosed()) {
		before := m.waitingAhead() + m.queue.Len()
		if !known || m.attempt.stage == entered && len(m.holds) == 0 { // the first of these may be about to hold
			before = max(before-1, 0)
		}
		if before >= n {
			return FullError(before, n)
		}
	}
	return nil
}

// isClosed says whether somebody is ahead of all who come.
func (m *machine) isClosed() bool {
	switch {
	case m.attempt != nil && m.attempt.stage == queued:
		return true
	case m.shares():
		return len(m.holds) > 0 && m.behind() == yes
	}
	return len(m.holds) > 0 || m.queue.Len() > 0
}

// FullError is ErrQueueFull, with how many wait, and how many may.
func FullError(before, most int) error {
	return fmt.Errorf("%w: %d, at most %d may", ErrQueueFull, before, most)
}

// waitingAhead is how many wait in etcd before our entry.
func (m *machine) waitingAhead() int {
	if m.attempt == nil || m.attempt.stage != queued {
		return 0
	}
	s, t := &m.attempt.spots[0], &m.tracks[0]
	if v := t.view; v != nil && v.end != "" && v.ready && v.rev >= s.entry.Create {
		return t.policy.Waiting(v.entries, s.entry)
	}
	return s.waiting
}

// refuse refuses all who wait.
func (m *machine) refuse(err error) {
	for w := m.front(); w != nil; w = m.front() {
		m.queue.Remove(w.at)
		m.reply(w, nil, err)
	}
}

// refuseTries answers those who will not wait, now that it is known that they would have to. It says whether there were any.
func (m *machine) refuseTries() bool {
	if a := m.attempt; a != nil {
		return m.refuseTriesAs(&heldError{revision: a.spots[0].entry.Create})
	}
	return false
}

func (m *machine) refuseTriesAs(err error) (any bool) {
	for e := m.queue.Front(); e != nil; {
		w, following := e.Value.(*waiter), e.Next()
		if w.try {
			m.queue.Remove(e)
			m.reply(w, nil, err)
			any = true
		}
		e = following
	}
	return any
}

// refuseHopeless answers those who would wait for ever.
func (m *machine) refuseHopeless() {
	for i := range m.tracks {
		if hopeless := m.tracks[i].policy.Hopeless; hopeless != nil {
			if err := hopeless(); err != nil {
				m.refuse(err)
			}
		}
	}
}

// refuseFull refuses those for whom the line turned out to be too long. Whoever may wait, may wait for good: that the entry goes to the back
// of the line, or is lost and made again, changes nothing for it.
func (m *machine) refuseFull() {
	if m.private {
		m.refuseFullSet()
		return
	}
	before := m.waitingAhead()
	if m.attempt.stage == entered && len(m.holds) == 0 { // the first of those here does not wait
		before = -1
	}
	for e := m.queue.Front(); e != nil; {
		w, following := e.Value.(*waiter), e.Next()
		if n := w.opts.MaxWaiters; n > 0 && !w.in && before >= n {
			m.queue.Remove(e)
			m.reply(w, nil, FullError(before, n))
		} else {
			w.in = true
			before++
		}
		e = following
	}
}

// refuseFullSet is refuseFull of the one who waits in several lines.
func (m *machine) refuseFullSet() {
	w := m.front()
	if w == nil || w.in {
		return
	}
	w.in = true
	for i := range m.attempt.spots {
		s := &m.attempt.spots[i]
		if n := m.tracks[i].opts.MaxWaiters; n > 0 && s.waiting >= n && !s.entered {
			m.refuse(&MemberError{m.tracks[i].ref, FullError(s.waiting, n)})
			return
		}
	}
}

// grant gives the entries to the first who waits. The lease has to be fresh.
func (m *machine) grant() {
	a, w := m.attempt, m.front()
	m.queue.Remove(w.at)
	if a.uses > 0 && m.othersWait() != no {
		a.passed++
	}
	path := m.pathOf(a)
	a.uses++
	m.settle(a, nil) // a release that was about to delete the entry has given it away instead
	h := &Hold{attempt: a, opts: w.opts, caller: w.ctx, rested: a.spots[0].restUntil, number: a.turns.grant(),
		from: m.at.now, path: path}
	if m.private {
		h.rested = 0
	}
	for i := range a.spots {
		if d := m.options(w, i).MinHold; d > 0 {
			a.spots[i].restUntil = max(a.spots[i].restUntil, m.at.now+d)
		}
	}
	if m.shares() { // several hold at once
		h.lookAtToken()
	}
	m.holds = append(m.holds, h)
	m.reply(w, h, nil)
}

// pathOf is how a grant of a's comes about.
func (m *machine) pathOf(a *attempt) meter.Path {
	if a.uses > 0 || a.inherited {
		return meter.Local
	}
	if a.waited {
		return meter.Etcd
	}
	return meter.Free
}

// end marks a hold as over.
func (m *machine) end(h *Hold, cause error) {
	h.ended, h.until = cause, m.at.now
	if i := slices.Index(m.holds, h); i >= 0 {
		m.holds = slices.Delete(m.holds, i, i+1)
	}
	m.effect(effect{do: doFinish, h: h, err: cause})
}

// release gives h back. Where its entry is to go, fate is told how that ended.
func (m *machine) release(h *Hold) {
	a := h.attempt
	h.released = true
	if h.ended == nil {
		m.end(h, keeper.ErrNotHeld)
		m.lingerUntil = 0
		if d := h.opts.Linger; d > 0 {
			m.lingerUntil = m.at.now + d
		}
		if act := m.next(); act != leave && act != swap && act != rewrite && a.stage != vanished {
			return
		}
	} else if !m.private { // of a private one, a release may be repeated
		return
	}
	m.fate = make(chan error, 1)
	if a.end != nil {
		m.fate <- a.end.err
		return
	}
	a.fates = append(a.fates, m.fate)
}

// handOver ends h and gives its entry to caller, without a word to etcd, unless the entry cannot be handed on.
func (m *machine) handOver(h *Hold, caller context.Context) *Hold {
	a := h.attempt
	if h.released || h.ended != nil || a.stage != entered || a.exposed || a.turns.full() || a.edit != nil || m.queue.Len() > 0 || !m.at.fresh {
		return nil
	}
	next := &Hold{line: h.line, attempt: a, opts: h.opts, caller: caller, number: a.turns.grant(), out: h.out,
		from: m.at.now, path: meter.Local}
	h.released, h.out = true, nil
	m.end(h, keeper.ErrNotHeld)
	a.uses++
	m.holds = append(m.holds, next)
	return next
}

// expose keeps h's entry from being handed on, since somebody has looked at it. It returns false if h was released before anybody had: then
// the entry may be somebody else's.
func (h *Hold) expose() bool {
	if h.ended == nil || h.lost != nil { // a lost entry is never passed on
		h.attempt.exposed, h.exposed = true, true
	}
	return h.exposed
}

func (h *Hold) lookAtToken() {
	if h.token == 0 {
		h.token = fence.TokenAt(h.attempt.spots[0].entry.Create, h.attempt.turns.of(h.number))
	}
}
