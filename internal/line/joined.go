package line

import (
	"slices"

	"github.com/fenceline/fenceline/internal/queue"
)

// joined takes up entries that etcd has confirmed.
func (m *machine) joined(r *request, x *answer) {
	a := r.a
	a.stood, a.stage = true, queued
	if x.inherited > 0 {
		a.turns, a.exposed, a.inherited = inherited(x.inherited), true, true
	}
	a.said = report{asked: r.asked, revision: x.entries[0].Create, known: true}
	for i := range a.spots {
		m.joinedOne(r, i, x.entries[i], x.seen[i])
	}
	m.enterIfClear()
	a.waited = a.waited || a.stage == queued
	if s := &a.spots[0]; s.entered && s.count == 1 && !m.shares() {
		a.said.answer = no
	}
	if a.spots[0].count > 0 {
		m.refuseFull()
	}
	for i := range m.tracks { // the view may have passed our entry before the answer came
		m.changed(i)
	}
}

func (m *machine) joinedOne(r *request, i int, e queue.Entry, line seen) {
	t, s := &m.tracks[i], &m.attempt.spots[i]
	s.entry = e
	isFirst := m.looked(r, i, line)
	s.front = int(max(s.count-1, 0))
	if slices.ContainsFunc(line.entries, func(e queue.Entry) bool { return e.Key == t.policy.Beside }) { // which is no entry
		s.front--
	}
	if s.front > 0 {
		m.effect(effect{do: doQueuedUp, i: int32(i), revision: int64(s.front)})
	}
	blind := false
	if v := t.view; v != nil && v.end != "" && v.ready {
		blind = v.deaf() && !v.adoptJoin(s)
		if v.rev >= e.Create {
			m.note(i, v.entries, v.rev) // it has heard more than the enqueue's answer tells
		}
	}
	if s.count > 0 {
		t.length = s.count
	}
	if isFirst {
		m.enter(i)
		return
	}
	m.askLater(i)
	s.whoAt = m.at.now + whoAfter
	if s.count > 0 {
		m.refuseTries()
		m.refuseHopeless()
	}
	w := m.front()
	blind = blind || slices.ContainsFunc(t.besides, func(v *view) bool { return v.rev > e.Create })               // it has told more than the answer does
	s.askNow = s.askNow || blind || line.look == lookSum || w != nil && w.try || !m.short(i) && s.ahead.Key == "" // nobody will tell when it is our turn
}

// looked takes what an enqueue has seen of the i-th line, and says whether nobody is ahead.
func (m *machine) looked(r *request, i int, line seen) bool {
	t, s := &m.tracks[i], &m.attempt.spots[i]
	if !line.known {
		return false
	}
	s.count = line.count
	s.waiting = int(max(s.count-2, 0)) // all but ours and one who holds
	if line.look == lookSum {
		t.fitted = t.policy.Fits(line.count, line.entries)
		return t.fitted
	}
	if s.count == 1 || len(line.entries) == 0 {
		t.fitted = s.count == 1
		return t.fitted
	}
	if line.look == lookNear {
		verdict := m.judgeNear(r, i, s.entry.Create, line.entries)
		t.fitted = verdict == queue.Granted
		return t.fitted
	}
	if t.policy.Values {
		s.waiting = t.policy.Waiting(line.entries, s.entry)
	}
	if len(line.entries) == int(s.count) { // all of them
		s.before, s.beforeRev = queue.Ahead(line.entries, s.entry), s.entry.Create
	}
	verdict, by := t.policy.Judge(s.entry.Create, line.entries, s.entry)
	m.blockedBy(i, by, line.entries)
	t.fitted = verdict == queue.Granted
	return t.fitted
}

// judgeNear concludes from the nearest of those ahead of the i-th entry, r.near at most. So many are in the way by definition, whatever the
// policy makes of them by now: there may be more.
func (m *machine) judgeNear(r *request, i int, revision int64, entries []queue.Entry) queue.Verdict {
	t, s := &m.tracks[i], &m.attempt.spots[i]
	verdict, _ := t.policy.Judge(revision, entries, s.entry)
	near := queue.Ahead(entries, s.entry)
	near = slices.DeleteFunc(near, func(e queue.Entry) bool { return e.Key == t.policy.Beside })
	if verdict == queue.Granted && len(near) >= r.near {
		verdict, s.askNow = queue.Blocked, true
	}
	if verdict == queue.Blocked && len(near) > 0 {
		m.stayBehind(i, near)
	}
	return verdict
}

// stayBehind has only these watched, who are in the way of the i-th entry.
func (m *machine) stayBehind(i int, near []queue.Entry) {
	t, s := &m.tracks[i], &m.attempt.spots[i]
	s.near, s.ahead, s.blocks = near, near[len(near)-1], true
	m.unwatch(t.view) // it shows the line as a whole
	t.view = nil
}

// blockedBy notes who has to leave before the i-th entry.
func (m *machine) blockedBy(i int, by queue.Entry, entries []queue.Entry) {
	t, s := &m.tracks[i], &m.attempt.spots[i]
	s.ahead = by
	before := queue.Ahead(entries, s.entry)
	s.blocks = t.policy.Alone == nil || t.policy.Alone(before)
	if h := t.horizon(int64(len(before))); h > 0 && by.Key != "" {
		m.stayBehind(i, before[len(before)-h:])
	}
}

// enter notes that nobody is ahead of the i-th entry any more.
func (m *machine) enter(i int) {
	s := &m.attempt.spots[i]
	s.entered, s.since = true, m.at.now
	s.stopAsking()
}

// enterIfClear ends the wait once nobody is ahead in any line.
func (m *machine) enterIfClear() {
	a := m.attempt
	if a == nil || a.stage != queued {
		return
	}
	for i := range a.spots {
		if !a.spots[i].entered {
			return
		}
	}
	a.stage = entered
}
