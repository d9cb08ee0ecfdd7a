package line

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
