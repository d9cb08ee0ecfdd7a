package line

import (
	"time"

	"github.com/fenceline/fenceline/internal/queue"
	"github.com/fenceline/fenceline/internal/watch"
)

// What we do while nobody else waits (hand the entry on here, let it linger, share it with another reader) rests on silence: on what the watch
// has not told. A connection may have died, a member may lag. So "nobody" is an answer only while the stream is heard of, and the quorum has
// said so not long ago; then it is "maybe".

// opinion is whether others stand behind our entry.
type opinion int

const (
	maybe opinion = iota
	no
	yes
)

// report is what the quorum has said of those behind our entry.
type report struct {
	known    bool
	asked    time.Duration
	revision int64
	answer   opinion // maybe: it said that our entry stands, and nothing of those behind
}

// lingerPatience is how long an entry lingers on the word of a watch alone. A member that lags and does not know it is rare, and a process may
// have thousands of entries that linger.
const lingerPatience = 30 * time.Second

// openingTime is how long a view may take to open before the quorum is asked instead.
const openingTime = time.Second

// quietTime is for how long the stream is not asked again whether it is alive: local hand-offs take a microsecond.
const quietTime = 20 * time.Millisecond

// othersWait says whether other processes stand behind our entry.
func (m *machine) othersWait() opinion {
	return m.whether(0, func(entries []queue.Entry) bool { return !queue.Alone(entries, m.attempt.spots[0].entry) })
}

// behind says whether somebody stands behind our entry who keeps others from sharing it. What the quorum said before the first who waits here
// came is too old for that one: somebody may have come in between.
func (m *machine) behind() opinion {
	var came time.Duration
	if w := m.front(); w != nil {
		came = w.came
	}
	return m.whether(came, m.tracks[0].policy.KeepsOut)
}

// whether asks the view, and then the last report of the quorum, if that is from after since.
func (m *machine) whether(since time.Duration, found func([]queue.Entry) bool) opinion {
	t, a, now := &m.tracks[0], m.attempt, m.at.now
	v, said := t.view, &a.said
	if v != nil && v.key == t.prefix && v.ready && v.rev >= a.spots[0].entry.Create {
		switch {
		case found(v.entries):
			return yes
		case said.known && said.answer == yes && v.rev < said.revision: // the watch ought to have told
		case now < v.quietUntil && v.quietFor == a:
			return no
		case said.known && m.world.alive() && now-said.asked < m.trustFor():
			v.quietUntil, v.quietFor = now+quietTime, a
			return no
		}
	}
	if said.known && said.asked >= since && now-said.asked < watch.TrustFor {
		return said.answer
	}
	return maybe
}

// trustFor is how long a watch is believed that shows nobody, after the quorum was asked.
func (m *machine) trustFor() time.Duration {
	if len(m.holds) == 0 && m.queue.Len() == 0 {
		return lingerPatience
	}
	return m.world.silence()
}

// mustAsk says whether the quorum has to be asked what the view does not tell.
func (m *machine) mustAsk() bool {
	t := &m.tracks[0]
	if v := t.view; v != nil && v.key == t.prefix {
		return v.ready || m.at.now-v.opened >= openingTime
	}
	return m.at.now < t.viewAfter
}

// mindTrust has the line looked at again when what it rests on may not be true any more.
func (m *machine) mindTrust() {
	a := m.attempt
	if a == nil || a.stage != entered || m.private {
		return
	}
	lingers := len(m.holds) == 0 && m.queue.Len() == 0
	switch {
	case lingers:
		m.relies = true
	case len(m.holds) == 0, m.queue.Len() == 0, !m.shares():
		return
	}
	t := &m.tracks[0]
	switch v := t.view; {
	case v == nil || v.key != t.prefix:
		m.lookIn(max(t.viewAfter-m.at.now, openingTime))
	case !v.ready:
		m.lookIn(openingTime)
	case lingers && m.world.alive():
		m.lookIn(lingerPatience - (m.at.now - a.said.asked))
	default:
		m.lookIn(watch.TrustFor)
	}
}

// lookIn has the line looked at again after d at the latest.
func (m *machine) lookIn(d time.Duration) {
	at := m.at.now + max(d, 0) + time.Millisecond // else it is looked at before it is time
	if m.lookAt == 0 || at < m.lookAt {
		m.lookAt = at
	}
}
