package line

import (
	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
)

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
		r.near = m.tracks[0].horizon(longLine)
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
	r.kind, r.a, r.old, r.looks, r.near = askJoin, m.heir, m.attempt, m.looks(), m.tracks[0].horizon(longLine)
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
		case t.policy.Fits != nil && t.fitted:
			looks[i] = lookSum
		case t.horizon(t.length) > 0:
			looks[i] = lookNear
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
	lookSum                 // how long is it, and who in it has a mark?
	lookNear                // how long is it, and who are the nearest of those ahead?
)

// longLine is the length from which an enqueue only counts the line, and the entry ahead is looked up outside. Finding it inside the
// transaction sorts the whole line while etcd applies it: 3 ms at 5 000 entries. A line that is watched as a whole is only counted, too: who
// is ahead the view tells.
const longLine = 512

// horizon is the policy's, in a line of n entries; 0: the line is not that long.
func (t *track) horizon(n int64) int {
	if t.policy.Horizon == nil {
		return 0
	}
	if h := t.policy.Horizon(); h <= maxNear && n > int64(4*h+2*shortLine) {
		return h
	}
	return 0
}

// maxNear is how many entries are watched each by itself, at most.
const maxNear = 8

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
		if s.near != nil {
			if r.near = t.horizon(longLine); r.near == 0 { // it has grown
				s.near = nil
			}
		}
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
