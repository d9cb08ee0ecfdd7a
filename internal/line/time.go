package line

import (
	"time"

	"github.com/fenceline/fenceline/internal/queue"
)

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
