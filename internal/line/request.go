package line

import (
	"context"
	"errors"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/queue"
)

// kind of a request.
type kind int

const (
	askLease   kind = iota // for a lease with room for entries
	askJoin                // the enqueue of a; with old, old is deleted with it
	askConfirm             // is anybody ahead of a's i-th entry?
	askSurvey              // does anybody stand behind a?
	askDeath               // has departed died?
	askRenewal             // of a's lease
	askRewrite             // the edit of a
	askLeave               // a is deleted
)

var kindNames = [...]string{"lease", "join", "confirm", "survey", "death", "renewal", "rewrite", "leave"}

func (k kind) String() string { return kindNames[k] }

// request is what a machine asks of etcd. One is under way at a time, so that they follow each other.
type request struct {
	kind     kind
	a, old   *attempt
	i        int
	try      bool   // join: only if a would be first
	looks    []look // join: what to ask about each line
	quorum   bool   // confirm: of the leader,
	nearest  bool   // and first whether our entry and this one stand as they did
	ahead    queue.Entry
	near     int   // join, confirm: only so many of those ahead are looked at; 0: all that matter
	revision int64 // confirm: at this one at least
	departed departure
	edit     *edit
	mod      int64 // rewrite: of the entry as we know it
	failed   int   // how many have before it, in a row
	asked    time.Duration

	ctx  context.Context // the driver's
	stop context.CancelFunc
}

// answer is what came of a request. The machine judges it.
type answer struct {
	err       error
	explained error // err for people

	epoch  *keeper.Epoch // lease
	leases []clientv3.LeaseID

	unknown       bool          // join, leave: an enqueue may have happened, or may yet
	deleteUnknown bool          // leave
	entries       []queue.Entry // join: ours; else: the line as read at revision
	seen          []seen        // join
	foreign       []bool        // join: which keys are a stranger's
	inherited     int           // join: the generation, if the entry was taken over from an earlier session
	taken         int           // join: in which line others were, for a try
	still         bool          // confirm: our entry and the one ahead stand as they did
	revision      int64         // the answer's
	died          bool          // death
	mod           int64         // rewrite
}

// seen is what the answer to an enqueue shows of a line.
type seen struct {
	look    look
	known   bool // it shows anything
	count   int64
	entries []queue.Entry
}

// Why an enqueue that etcd has answered did not take effect.
var (
	errSlot   = errors.New("line: slot taken")   // the key is taken by an entry that is not ours
	errOthers = errors.New("line: others ahead") // it was a try
)

// refusal is the reason of terms that do not hold. It is the end for all who wait.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// answered takes the answer to r, if it still matters.
func (m *machine) answered(r *request, x *answer) {
	if m.asking == r {
		m.asking = nil
	}
	a := r.a
	if r.kind == askLease {
		m.leased(x)
		return
	}
	if a != m.attempt && a != m.heir || a == nil { // lost meanwhile, and its entries with it
		return
	}
	if r.kind == askJoin || r.kind == askLeave {
		a.unknown = x.unknown
	}
	if m.take(r, x) {
		m.tries, m.trouble = 0, nil
		return
	}
	m.failed(x)
}

// leased takes a lease for an attempt.
func (m *machine) leased(x *answer) {
	switch {
	case x.epoch != nil:
		m.tries, m.trouble = 0, nil
		m.takeUp(m.attemptUnder(x.epoch, x.leases))
	case x.err != nil:
		m.failed(x)
	}
}

// take takes an answer. It returns false if the request has failed in a way that says nothing.
func (m *machine) take(r *request, x *answer) bool {
	switch r.kind {
	case askJoin:
		if r.old != nil {
			return m.swapped(r, x)
		}
		return m.joinAnswered(r, x)
	case askConfirm:
		return m.confirmed(r, x)
	case askSurvey:
		return x.err == nil && m.surveyed(r, x)
	case askDeath:
		return m.heardOfDeath(r, x)
	case askRewrite:
		return m.rewritten(r, x)
	case askLeave:
		return m.left(r, x)
	}
	return x.err == nil
}

func (m *machine) joinAnswered(r *request, x *answer) bool {
	a := r.a
	var refused refusal
	switch {
	case x.err == nil:
		m.joined(r, x)
		return true
	case errors.Is(x.err, errSlot):
		a.leaveToStrangers(x.foreign)
		m.unjoined(a, x.err)
	case errors.As(x.err, &refused):
		m.unjoined(a, x.err)
		m.refuse(refused.error)
	case errors.Is(x.err, errOthers):
		if !a.unknown { // else it may still get through, for whoever wants it then
			m.vacate(a, x.err)
		}
		if len(m.tracks) > 1 {
			m.refuseTriesAs(&MemberError{m.tracks[x.taken].ref, heldBy(x)})
		} else {
			m.refuseTriesAs(heldBy(x))
		}
	default:
		return false
	}
	return true
}

// leaveToStrangers notes under which keys others have entries: those slots are never ours.
func (a *attempt) leaveToStrangers(foreign []bool) {
	for i, f := range foreign {
		a.spots[i].foreign = f && !a.unknown
	}
}

// unjoined drops an attempt whose enqueue cannot succeed; an earlier request may be on its way.
func (m *machine) unjoined(a *attempt, err error) {
	if a.unknown {
		a.stage = leaving
		return
	}
	m.vacate(a, err)
}

// swapped takes the answer to an enqueue that also deletes the attempt.
func (m *machine) swapped(r *request, x *answer) bool {
	heir, old := r.a, r.old
	var refused refusal
	switch {
	case heir != m.heir:
		return true
	case x.err == nil:
		m.heir = nil
		m.vacate(old, nil)
		m.takeUp(heir)
		m.joined(r, x)
		return true
	case errors.As(x.err, &refused):
		m.refuse(refused.error)
	case errors.Is(x.err, keeper.ErrEntryGone):
		m.lose(old, x.err)
		return true
	case errors.Is(x.err, errSlot):
		heir.leaveToStrangers(x.foreign)
		m.giveUp(heir, true)
		m.heir = m.heirOf(old)
		return true
	case etcd.Final(x.err): // what cannot be exchanged can be given back
	case heir.unknown: // which of the two stands only the same request can tell
		return false
	default:
		m.give(heir)
		m.endSwap()
		return false
	}
	m.heir = nil
	old.stage, old.deleteUnknown = leaving, old.deleteUnknown || heir.unknown
	m.giveUp(heir, true)
	return true
}

// confirmed takes who is ahead.
func (m *machine) confirmed(r *request, x *answer) bool {
	a, i := r.a, r.i
	t, s := &m.tracks[i], &a.spots[i]
	if a.stage != queued || s.entered {
		return true
	}
	toldMeanwhile := s.askNow
	if x.err != nil {
		s.askNow, s.quorum = true, s.quorum || r.quorum
		return false
	}
	if r.quorum {
		m.askLater(i)
	}
	if x.still {
		m.refuseTries()
		m.refuseHopeless()
		return true
	}
	var verdict queue.Verdict
	var by queue.Entry
	if r.near > 0 {
		verdict = m.judgeNear(r, i, x.revision, x.entries)
	} else {
		verdict, by = t.policy.Judge(x.revision, x.entries, s.entry)
	}
	if v := t.view; v != nil && v.deaf() && v.ready && (verdict == queue.Granted || verdict == queue.Blocked) {
		v.adopt(x.revision, queue.Ahead(x.entries, s.entry), s.entry)
	}
	switch verdict {
	case queue.Granted:
		if r.quorum && !toldMeanwhile { // the watch should have
			m.effect(effect{do: doRestart})
		}
		m.note(i, nil, x.revision)
		m.enter(i)
		m.enterIfClear()
	case queue.Undecided: // what was read is not older than the entry, unless etcd's history is
		m.effect(effect{do: doRewound, a: a, i: int32(i), revision: x.revision})
	case queue.Gone:
		m.vanished()
	case queue.Blocked:
		m.refuseTries()
		m.refuseHopeless()
		if r.near > 0 {
			break
		}
		if r.quorum && !toldMeanwhile && s.ahead.Key != "" && by.Key != s.ahead.Key && t.view != nil && t.view.key == s.ahead.Key {
			m.effect(effect{do: doRestart})
		}
		m.blockedBy(i, by, x.entries)
		m.changed(i) // the view may know this one already
	}
	return true
}

// surveyed takes who stands behind.
func (m *machine) surveyed(r *request, x *answer) bool {
	a, p := r.a, &m.tracks[0].policy
	if a.stage != entered {
		return true
	}
	switch verdict, _ := p.Judge(x.revision, x.entries, a.spots[0].entry); verdict {
	case queue.Gone:
		m.vanished()
		return true
	case queue.Undecided:
		m.effect(effect{do: doRewound, a: a, revision: x.revision})
		return true
	}
	a.said = report{asked: r.asked, revision: x.revision, answer: no, known: true}
	if p.Shares == nil && len(x.entries) > 1 || p.Shares != nil && p.KeepsOut(x.entries) {
		a.said.answer = yes
	}
	return true
}

// heardOfDeath takes whether one who held before us has died. What cannot be found out counts as a death.
func (m *machine) heardOfDeath(r *request, x *answer) bool {
	if x.err != nil && !etcd.Final(x.err) {
		return false
	}
	s := &r.a.spots[r.i]
	if d := r.departed; x.died || x.err != nil {
		s.died, s.diedAt = true, max(s.diedAt, d.seen)
	}
	if len(s.departed) > 0 {
		s.departed = s.departed[1:]
	}
	return true
}

// rewritten takes the end of an edit.
func (m *machine) rewritten(r *request, x *answer) bool {
	a := r.a
	switch {
	case a.edit != r.edit:
		return true
	case errors.Is(x.err, keeper.ErrLost):
		m.lose(a, x.err)
		return true
	case x.err == nil:
		a.spots[0].entry.Mod, a.spots[0].entry.Value = x.mod, []byte(r.edit.value)
		if r.edit.demote {
			m.demoted()
		}
		m.finish(a, nil)
		return true
	case etcd.LeaseGone(x.err), etcd.Unknown(x.err):
		r.edit.unknown = true
		return false
	case r.edit.unknown:
		m.finish(a, notConfirmed(x.explained))
		return true
	}
	m.finish(a, x.explained)
	return true
}

// demoted makes a writer's line a reader's, who leaves the table with it: writers who wait here get an entry of their own at once.
func (m *machine) demoted() {
	m.attempt.exposed = true // no writer may have it after this
	m.tracks[0].policy = queue.Reader
	if !m.retired {
		m.retire()
	}
	for w := m.front(); w != nil; w = m.front() {
		m.queue.Remove(w.at)
		w.again = true
		m.reply(w, nil, nil)
	}
	for _, h := range m.holds {
		m.effect(effect{do: doDemoted, h: h})
	}
}

// left takes the end of an attempt that was given back.
func (m *machine) left(_ *request, x *answer) bool {
	a := m.attempt
	a.deleteUnknown = a.deleteUnknown || x.deleteUnknown
	parks := false
	for i := range a.spots {
		parks = parks || a.spots[i].parks
	}
	switch {
	case x.err == nil, errors.Is(x.err, keeper.ErrLost):
		m.vacate(a, x.err)
		for i := range a.spots {
			if a.spots[i].parks {
				m.effect(effect{do: doUnpark, a: a, i: int32(i)})
			}
		}
		return true
	case parks && etcd.Final(x.err): // no space, say: then it stays where it is, and is deleted when the time has come
		for i := range a.spots {
			if s := &a.spots[i]; s.parks {
				s.parks, s.kept, s.parking = false, true, clientv3.NoLease
			}
		}
		a.stage = entered
		m.settle(a, nil)
		return true
	}
	return false
}
