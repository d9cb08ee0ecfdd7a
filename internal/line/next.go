package line

import (
	"time"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/queue"
)

// action is what a machine does next.
type action int

const (
	rest    action = iota // nothing, until something happens
	grant                 // give the entry to the first who waits
	enqueue               // get entries
	try                   // get an entry if it would be first
	wait                  // until the policy is satisfied
	inquire               // how did those end who held before us?
	survey                // does anybody stand behind our entry?
	swap                  // go to the back of the line, with a new entry
	rewrite               // change the value of the entry
	leave                 // give the entries back
)

var actionNames = [...]string{"rest", "grant", "enqueue", "try", "wait", "inquire", "survey", "swap", "rewrite", "leave"}

func (a action) String() string { return actionNames[a] }

// next decides. It changes nothing.
func (m *machine) next() action {
	a, w := m.attempt, m.front()
	switch {
	case a == nil && w == nil:
		return rest
	case a == nil || a.stage == sent && w != nil:
		if w.try {
			return try
		}
		return enqueue
	case a.stage == vanished:
		return rest
	case a.edit != nil:
		return rewrite
	case a.stage == queued && w != nil:
		return wait
	case a.stage == swapping:
		return swap
	case a.stage != entered:
		return leave
	case len(m.holds) > 0:
		return m.nextBeside(w)
	}
	switch resting, kept := a.resting(m.at.now); {
	case resting && kept:
		return rest
	case resting, m.private && a.uses > 0:
		return leave
	case w == nil:
		return m.nextIdle(a)
	case a.uses > 0 && (a.exposed || a.turns.full() || m.isTurnOver(a, w)):
		if w.try { // it must not stand in line
			return leave
		}
		return swap
	}
	return m.nextGrant(w)
}

// nextBeside is next while somebody holds.
func (m *machine) nextBeside(w *waiter) action {
	if w == nil || !m.shares() {
		return rest
	}
	switch m.behind() {
	case no:
		return m.nextGrant(w)
	case maybe:
		if m.mustAsk() {
			return survey
		}
	}
	return rest
}

// nextGrant is next when w may be granted, as far as the line goes.
func (m *machine) nextGrant(w *waiter) action {
	switch suspect, early := m.fears(w); {
	case suspect:
		return inquire
	case early:
		return rest
	}
	return grant
}

// nextIdle is next when a is nobody's, and nobody here wants it.
func (m *machine) nextIdle(a *attempt) action {
	if m.retired || m.at.now >= m.lingerUntil {
		return leave
	}
	switch others := m.othersWait(); {
	case others == yes:
		return leave
	case a.exposed: // the guard of the last holder must not outlive its hold
		return swap
	case others == maybe && m.mustAsk():
		return survey
	}
	return rest
}

// isTurnOver says whether local grants in a row are used up, and others wait, or may.
func (m *machine) isTurnOver(a *attempt, w *waiter) bool {
	if m.shares() {
		return m.behind() != no
	}
	return a.passed >= w.opts.Handoffs && m.othersWait() != no
}

// fears says whether somebody who held before us may have died, and whether one has, so that it is too soon for w.
func (m *machine) fears(w *waiter) (suspect, early bool) {
	for i := range m.attempt.spots {
		s, delay := &m.attempt.spots[i], m.options(w, i).TakeoverDelay
		if delay == 0 {
			continue
		}
		suspect = suspect || len(s.departed) > 0
		early = early || s.died && m.at.now-s.diedAt < delay
	}
	return suspect, early
}

// isTooSoon says whether those who wait here do so for a time to come.
func (m *machine) isTooSoon() bool {
	w := m.front()
	if w == nil {
		return false
	}
	if len(m.holds) == 0 {
		if resting, _ := m.attempt.resting(m.at.now); resting {
			return true
		}
	} else if !m.shares() || m.behind() != no {
		return false
	}
	_, early := m.fears(w)
	return early
}

// request has the next action's request sent, if it needs one.
func (m *machine) request() {
	a := m.attempt
	act := m.next()
	if a != nil && a.stage == sent && !a.unknown && m.queue.Len() == 0 { // nothing was sent that could stand
		m.vacate(a, nil)
		act = rest
	}
	if act == rest || act == wait && !m.mustConfirm() {
		if act == rest && a != nil && a.in() && a.stage != vanished {
			m.settle(a, nil) // a release whose entry stays after all
			if m.isTooSoon() && m.refuseTries() {
				m.request()
				return
			}
		}
		m.tries, m.retryAt = 0, 0
		return
	}
	if m.at.now < m.retryAt {
		return
	}
	m.retryAt = 0
	r := &request{a: a, failed: m.tries, asked: m.at.now}
	switch act {
	case grant: // the lease has to be good for longer
		r.kind = askRenewal
	case enqueue, try:
		if a == nil {
			r.kind = askLease
			break
		}
		r.kind, r.try = askJoin, act == try
		r.looks = m.looks()
	case wait:
		r = m.confirmation(r)
	case inquire:
		if !m.oldest(r) {
			m.request()
			return
		}
	case survey:
		r.kind = askSurvey
	case swap:
		m.swap(r)
	case rewrite:
		r.kind, r.edit, r.mod = askRewrite, a.edit, a.spots[0].entry.Mod
	case leave:
		m.leave(r)
	}
	m.asking = r
	m.effect(effect{do: doSend, req: r})
}

// swap fills in a request that gives the attempt back for another, at the back of the line.
func (m *machine) swap(r *request) {
	if m.heir == nil {
		m.beginSwap()
	}
	r.kind, r.a, r.old, r.looks = askJoin, m.heir, m.attempt, m.looks()
}

func (m *machine) beginSwap() {
	m.heir = m.heirOf(m.attempt)
	m.attempt.stage = swapping
	m.stopAsking()
}

// endSwap is the end of one that came to nothing.
func (m *machine) endSwap() {
	a := m.attempt
	m.heir, a.stage = nil, entered
	for i := range a.spots {
		if s := &a.spots[i]; !s.entered {
			a.stage, s.askNow = queued, true // what the watch has told meanwhile was not looked at
		}
	}
}

// heirOf is an attempt beside a, under the same lease.
func (m *machine) heirOf(a *attempt) *attempt {
	heir := m.attemptUnder(a.epoch, a.leases())
	for i := range heir.spots { // who takes over later has to fear the same
		s, o := &heir.spots[i], &a.spots[i]
		s.departed, s.died, s.diedAt = o.departed, o.died, o.diedAt
	}
	m.effect(effect{do: doShare, a: heir})
	return heir
}

// leave fills in a request that deletes the entries, or parks those that have to stay.
func (m *machine) leave(r *request) {
	a := m.attempt
	a.stage = leaving
	for i := range a.spots {
		if s := &a.spots[i]; a.uses > 0 && !s.kept && m.at.now < s.restUntil {
			s.parks = true
		}
	}
	for i := range a.spots {
		a.spots[i].stopAsking()
	}
	r.kind = askLeave
}

// looks are what an enqueue asks about each line, as far as one can tell beforehand what it will need to know.
func (m *machine) looks() []look {
	looks := make([]look, len(m.tracks))
	for i := range m.tracks {
		t := &m.tracks[i]
		switch {
		case t.length > longLine, !t.policy.Values && !t.fears && !m.private && t.length <= shortLine:
			looks[i] = lookCount
		case t.policy.Values, t.fears:
			looks[i] = lookAll
		default:
			looks[i] = lookNearest
		}
	}
	return looks
}

// look is how an enqueue looks at a line.
type look int

const (
	lookCount   look = iota // how long is it?
	lookNearest             // and who is the nearest of those ahead?
	lookAll                 // who is in it?
)

// longLine is the length from which an enqueue only counts the line, and the entry ahead is looked up outside. Finding it inside the
// transaction sorts the whole line while etcd applies it: 3 ms at 5 000 entries. A line that is watched as a whole is only counted, too: who
// is ahead the view tells.
const longLine = 512

// mustConfirm says whether etcd is to be asked whether our turn has come.
func (m *machine) mustConfirm() bool {
	for i := range m.attempt.spots {
		if m.attempt.spots[i].askNow {
			return true
		}
	}
	return false
}

// confirmation fills in a request for the first entry that needs one.
func (m *machine) confirmation(r *request) *request {
	for i := range m.attempt.spots {
		s, t := &m.attempt.spots[i], &m.tracks[i]
		if !s.askNow {
			continue
		}
		r.kind, r.i, r.quorum, r.revision = askConfirm, i, s.quorum, s.entry.Create
		if t.view != nil {
			r.revision = max(r.revision, t.view.rev)
		}
		p := &t.policy
		r.nearest = s.quorum && s.blocks && s.ahead.Key != "" && s.ahead.Mod != 0 && p.Alone == nil && p.Yields == nil && !t.fears
		r.ahead = s.ahead
		s.askNow, s.quorum = false, false
		return r
	}
	return r
}

// oldest fills in a request for the first departure that may matter, unless there is none any more.
func (m *machine) oldest(r *request) bool {
	w := m.front()
	for i := range m.attempt.spots {
		s, delay := &m.attempt.spots[i], m.options(w, i).TakeoverDelay
		for delay > 0 && len(s.departed) > 0 {
			if d := s.departed[0]; m.at.now-d.seen < delay {
				r.kind, r.i, r.departed = askDeath, i, d
				return true
			}
			s.departed = s.departed[1:] // however it ended
		}
	}
	return false
}

// passTime does what its time has come for.
func (m *machine) passTime() {
	now := m.at.now
	if m.lookAt != 0 && now >= m.lookAt {
		m.lookAt = 0
	}
	for i := range m.tracks {
		if t := &m.tracks[i]; t.closeAt != 0 && now >= t.closeAt {
			m.closeViews(i)
		}
	}
	a := m.attempt
	if a == nil || a.stage != queued {
		return
	}
	for i := range a.spots {
		s := &a.spots[i]
		if s.askAt != 0 && now >= s.askAt {
			s.askNow, s.quorum, s.askAt = true, true, 0
			s.asks++
		}
		if s.whoAt != 0 && now >= s.whoAt {
			m.wonder(i)
		}
		if s.outranked != 0 && now-s.outranked >= yieldAfter {
			m.changed(i)
			if a.stage != queued {
				return
			}
		}
	}
}

// rarely is how long an entry waits at most without etcd being asked.
const rarely = time.Minute

// askLater has etcd asked about the i-th entry after a while, if nothing is heard until then: a connection that has died in silence tells
// nothing. Each time that is twice as long: that a stream answers, and its watches do not tell, is rare, and whoever has waited long is late by
// no more than that.
func (m *machine) askLater(i int) {
	s, silence := &m.attempt.spots[i], m.world.silence()
	s.askAt = m.at.now + m.world.jitter(min(silence<<min(s.asks, 10), max(silence, rarely)))
}

func (s *spot) stopAsking() { s.askNow, s.quorum, s.askAt, s.whoAt = false, false, 0, 0 }

// Whose the entry ahead is, one finds out when a wait lasts, and looks again now and then.
const (
	whoAfter = 300 * time.Millisecond // a shorter wait costs no read
	whoEvery = time.Second
)

// wonder finds out whose the entry before the i-th of ours is.
func (m *machine) wonder(i int) {
	t, s := &m.tracks[i], &m.attempt.spots[i]
	s.whoAt = 0
	if m.queue.Len() == 0 || s.entered {
		return
	}
	s.whoAt = m.at.now + whoEvery
	e, in, _ := m.ahead(i)
	if e.Key != "" && (t.met.Create != e.Create || t.met.Key != e.Key || queue.SetOf(e) != nil) {
		m.effect(effect{do: doMeet, i: int32(i), entry: &e, waits: !in})
	}
}

// due is when the machine has to be stepped though nothing happens; 0: not at all.
func (m *machine) due() (at time.Duration) {
	consider := func(t time.Duration) {
		if t > m.at.now && (at == 0 || t < at) {
			at = t
		}
	}
	consider(m.retryAt)
	consider(m.lookAt)
	consider(m.retireAt)
	for i := range m.tracks {
		t := &m.tracks[i]
		consider(t.closeAt)
		consider(t.viewAfter)
	}
	a, w := m.attempt, m.front()
	if a == nil {
		return at
	}
	if a.in() && len(m.holds) == 0 && w == nil {
		consider(m.lingerUntil)
	}
	for i := range a.spots {
		s := &a.spots[i]
		consider(s.askAt)
		consider(s.whoAt)
		if s.outranked != 0 {
			consider(s.outranked + yieldAfter)
			consider(s.outranked + yieldAtLast)
		}
		if s.entered {
			consider(s.since + oldAfter)
		}
		if s.kept {
			consider(s.restUntil)
		}
		if s.died && w != nil {
			consider(s.diedAt + m.options(w, i).TakeoverDelay)
		}
	}
	return at
}

// failed takes note of a request that did not succeed. What etcd refuses is the end for all who wait; the rest is tried again after a while.
func (m *machine) failed(x *answer) {
	m.tries++
	a := m.attempt
	if etcd.LeaseGone(x.err) && a != nil {
		m.effect(effect{do: doRevoked, a: a})
		m.lose(a, keeper.ErrRevoked)
		return
	}
	if etcd.Final(x.err) {
		m.refuse(x.explained)
		if a != nil {
			m.settle(a, x.explained)
			if a.stage == sent && !a.unknown {
				m.vacate(a, x.explained)
				return
			}
		}
	}
	m.trouble = x.explained
	m.retryAt = m.at.now + m.world.pause(etcd.Prompt, m.tries)
}
