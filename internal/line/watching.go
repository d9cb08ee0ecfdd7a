package line

import (
	"errors"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/queue"
)

// shortLine is the length up to which a line is watched as a whole. Each event then reaches everybody in it, which costs n² events for n
// processes to take turns; watching the entry ahead alone costs a read at each turn.
const shortLine = 4

// keepWarm is how long a watch stays open that nobody needs at the moment: the next contended Acquire finds it.
const keepWarm = 5 * time.Second

// oldAfter is how long an entry has to have entered until its own key is watched, in case somebody deletes it.
const oldAfter = time.Second

// wanted says what has to be seen of the i-th line.
func (m *machine) wanted(i int) target {
	a, t := m.attempt, &m.tracks[i]
	if a == nil || !a.stood || a.stage >= swapping {
		return target{}
	}
	s := &a.spots[i]
	switch waits := m.queue.Len() > 0; {
	case !s.entered && (!waits || s.near != nil):
		return target{}
	case !s.entered && m.short(i):
		return t.whole()
	case !s.entered:
		return target{key: s.ahead.Key, deletes: t.policy.Shares == nil} // a reader also waits for a writer to become a reader
	case m.private:
	case len(m.holds) == 0 && !waits: // lingering: does anybody else want it?
		return t.whole()
	case waits && (m.short(i) || m.shares()): // may it be handed on here, or shared?
		return t.whole()
	}
	if m.at.now-s.since >= oldAfter { // does it still stand?
		return target{key: s.key}
	}
	return target{}
}

// whole is all of the line, or all that anybody may leave.
func (t *track) whole() target {
	if !t.policy.Departures {
		return target{key: t.prefix, end: t.end}
	}
	entries := t.prefix + t.policy.Dir
	return target{key: entries, end: clientv3.GetPrefixRangeEnd(entries), deletes: true}
}

// short says whether the line is watched as a whole, with some reluctance to change.
func (m *machine) short(i int) bool {
	t, s := &m.tracks[i], &m.attempt.spots[i]
	switch v := t.view; {
	case t.fears || t.policy.Whole: // it has to see how those before it end, or who is behind
		return true
	case !s.blocks && s.ahead.Key != "": // others than it matter
		return true
	case t.policy.Values && t.policy.Alone == nil: // it was told whom to wait for when it joined
		return false
	case v.whole() && v.ready:
		return len(v.entries) <= 2*shortLine
	}
	return !s.long && s.count > 0 && s.count <= shortLine
}

// shows says whether v does for t. A view of a whole line also does for one of its keys, unless it is a long line.
func (v *view) shows(t target) bool {
	if t.end != "" || v.end == "" {
		return t == v.target
	}
	return t.key >= v.key && t.key < v.end && len(v.entries) <= 2*shortLine && (t.deletes || !v.deletes)
}

// besides are the keys that have to be seen beside the view of the i-th line.
func (m *machine) besides(i int, want target) (keys []string) {
	a, t := m.attempt, &m.tracks[i]
	if a == nil || a.stage != queued || a.spots[i].entered || m.queue.Len() == 0 {
		return nil
	}
	for _, e := range a.spots[i].near {
		keys = append(keys, e.Key)
	}
	if key := t.policy.Beside; key != "" && (want.key != "" || keys != nil) && (want.end == "" || want.deletes) {
		keys = append(keys, key)
	}
	return keys
}

// mindView watches what has to be seen, and keeps for a while what has not to be at the moment.
func (m *machine) mindView(i int) {
	t, want := &m.tracks[i], m.wanted(i)
	besides := m.besides(i, want)
	if want.key == "" && besides == nil {
		switch {
		case m.private && m.queue.Len() == 0 && (m.attempt == nil || m.attempt.stage == leaving):
			m.closeViews(i)
		case t.closeAt == 0 && (t.view != nil || len(t.besides) > 0):
			t.closeAt = m.at.now + keepWarm
		}
		return
	}
	t.closeAt = 0
	if m.at.now < t.viewAfter {
		return
	}
	t.viewAfter = 0
	if want.key != "" && (t.view == nil || !t.view.shows(want)) {
		m.unwatch(t.view)
		t.view = &view{target: want, i: i, opened: m.at.now}
		if t.view.deaf() {
			t.view.departed = map[string]int64{}
		}
		m.effect(effect{do: doWatch, view: t.view})
	}
	if besides != nil {
		m.watchBesides(i, besides)
	}
}

// watchBesides watches these keys, and no others.
func (m *machine) watchBesides(i int, keys []string) {
	t := &m.tracks[i]
	t.besides = slices.DeleteFunc(t.besides, func(v *view) bool {
		gone := !slices.Contains(keys, v.key)
		if gone {
			m.unwatch(v)
		}
		return gone
	})
	for _, key := range keys {
		if !slices.ContainsFunc(t.besides, func(v *view) bool { return v.key == key }) {
			v := &view{target: target{key: key, deletes: key != t.policy.Beside}, i: i, beside: true}
			t.besides = append(t.besides, v)
			m.effect(effect{do: doWatch, view: v})
		}
	}
}

func (m *machine) unwatch(v *view) {
	if v != nil {
		m.effect(effect{do: doUnwatch, view: v})
	}
}

func (m *machine) closeViews(i int) {
	t := &m.tracks[i]
	m.unwatch(t.view)
	for _, v := range t.besides {
		m.unwatch(v)
	}
	t.view, t.besides, t.closeAt = nil, nil, 0
}

// opened has a view's list read, as of revision or later: the watch delivers what is newer.
func (m *machine) opened(v *view, revision int64) {
	t := &m.tracks[v.i]
	switch {
	case v.beside: // what was before, nobody has told
		v.ready = true
		if !slices.ContainsFunc(t.besides, func(v *view) bool { return !v.ready }) {
			m.lookAgain(v.i)
		}
	case v == t.view:
		if a := m.attempt; revision > 0 && a != nil && a.stood {
			revision = max(revision, a.spots[v.i].entry.Create)
		}
		m.effect(effect{do: doList, view: v, revision: revision})
	}
}

// lookAgain has etcd asked whether our turn has come, after a change beside the line.
func (m *machine) lookAgain(i int) {
	if a := m.attempt; a != nil && a.stage == queued && !a.spots[i].entered {
		a.spots[i].askNow = true
	}
}

// listed takes a view's list, which was asked for as of ev.asked.
func (m *machine) listed(v *view, ev *event) {
	i, t, a := v.i, &m.tracks[v.i], m.attempt
	switch {
	case v != t.view:
		return
	case ev.err != nil:
		m.unwatch(v)
		m.viewEnded(v, ev.err)
		return
	case a != nil && a.stood && ev.revision < min(ev.asked, a.spots[i].entry.Create): // the entry was there before we asked
		m.effect(effect{do: doRewound, a: a, i: int32(i), revision: ev.revision})
		return
	}
	v.load(ev.revision, ev.entries)
	if a != nil && a.stage == queued && v.whole() && !a.spots[i].entered {
		s := &a.spots[i]
		switch {
		case v.rev >= s.entry.Create:
			m.note(i, v.entries, v.rev)
			v.about = s.entry.Create
		case v.deaf(): // nothing will tell it of our entry
			s.askNow = true
		}
	}
	t.failed = 0
	m.changed(i)
}

// told takes events of a view.
func (m *machine) told(v *view, events []*mvccpb.Event) {
	t := &m.tracks[v.i]
	switch {
	case v.beside:
		if slices.Contains(t.besides, v) {
			v.rev = events[len(events)-1].Kv.ModRevision
			m.lookAgain(v.i)
		}
	case v != t.view:
	case !v.ready:
		v.backlog = append(v.backlog, events...)
	default:
		if v.whole() {
			m.noteEvents(v.i, events)
		}
		v.apply(events)
		m.changed(v.i)
	}
}

// viewEnded forgets a view that has ended, and looks again in a while whether one is wanted.
func (m *machine) viewEnded(v *view, err error) {
	t := &m.tracks[v.i]
	switch n := len(t.besides); {
	case v == t.view:
		t.view = nil
	case !v.beside:
		return
	default:
		if t.besides = slices.DeleteFunc(t.besides, func(o *view) bool { return o == v }); len(t.besides) == n {
			return
		}
	}
	t.failed++
	m.effect(effect{do: doViewFailed, view: v, err: err})
	t.viewAfter = m.at.now + m.world.pause(etcd.Steady, t.failed)
}

// changed is called when the view of the i-th line knows more than before.
func (m *machine) changed(i int) {
	a, t := m.attempt, &m.tracks[i]
	v := t.view
	if a == nil || v == nil || !v.ready || a.stage != queued && a.stage != entered {
		return
	}
	s := &a.spots[i]
	switch {
	case !v.tells(s.entry):
		s.askNow = s.askNow || !s.entered
	case v.whole() && m.yields(i):
		m.beginSwap()
	case v.whole():
		m.judgeView(i)
		s.long = len(v.entries) > 2*shortLine
	case v.key == s.key && !v.deletes && v.rev >= s.entry.Create:
		if e, ok := queue.Find(v.entries, s.key); !ok || !queue.Same(e, s.entry) {
			m.vanished()
		}
	case v.key == s.ahead.Key && !s.entered && v.rev >= s.entry.Create:
		if e, ok := queue.Find(v.entries, v.key); !ok || e.Create != s.ahead.Create || t.policy.Blocker([]queue.Entry{e}) < 0 {
			s.askNow = true
		}
	}
}

// judgeView concludes from the view of a whole line.
func (m *machine) judgeView(i int) {
	t, s := &m.tracks[i], &m.attempt.spots[i]
	switch verdict, _ := t.policy.Judge(t.view.rev, t.view.entries, s.entry); {
	case verdict == queue.Gone:
		m.vanished()
	case s.entered:
	case verdict == queue.Granted:
		m.enter(i)
		m.enterIfClear()
	case verdict == queue.Blocked:
		m.refuseHopeless()
		s.askNow = s.askNow || s.ahead.Key == "" && !m.short(i) // whom to watch from here on?
	}
}

// How long after it was outranked an entry goes to the back of the line, if it is next to do so; and if others are, who do not.
const (
	yieldAfter  = time.Second
	yieldAtLast = 5 * time.Second
)

// yields says whether the attempt should go to the back of the i-th line now.
func (m *machine) yields(i int) bool {
	a, t := m.attempt, &m.tracks[i]
	s := &a.spots[i]
	if t.policy.Yields == nil || a.uses > 0 || t.view.rev < s.entry.Create {
		return false
	}
	y := t.policy.Yields(t.view.entries, s.entry)
	switch {
	case y == queue.Stays:
		s.outranked = 0
		return false
	case s.outranked == 0:
		s.outranked = max(m.at.now, 1)
	}
	since := m.at.now - s.outranked
	return y == queue.YieldsNow || y == queue.YieldsNext && since >= yieldAfter || since >= yieldAtLast
}

func (m *machine) stopAsking() {
	for i := range m.attempt.spots {
		m.attempt.spots[i].stopAsking()
	}
}

// vanished is called when an entry of the attempt does not stand in etcd any more. Who only waits has lost nothing but a place: a watch may be
// wrong, so what it does not show is deleted before it is forgotten. For a holder the cause matters: was the entry deleted, or its lease
// revoked? A renewal tells.
func (m *machine) vanished() {
	switch a := m.attempt; a.stage {
	case queued:
		a.stage = leaving
		m.stopAsking()
	case entered:
		a.stage = vanished
		m.effect(effect{do: doAsk, a: a})
	}
}

// explained takes the answer to that.
func (m *machine) explained(a *attempt, err error) {
	if m.attempt != a || a.stage != vanished {
		return
	}
	if !errors.Is(err, keeper.ErrLost) {
		err = keeper.ErrEntryGone
	}
	m.lose(a, err)
}
