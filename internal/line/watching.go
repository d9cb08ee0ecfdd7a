package line

import (
	"context"
	"errors"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/keeper"
)

// shortLine is the length up to which a line is watched as a whole. Each event then reaches everybody in it, which
// costs n² events for n processes to take turns; watching the predecessor alone costs a read at each turn.
const shortLine = 4

// keepWarm is how long a watch stays open that nobody needs at the moment: the next contended Acquire finds it.
const keepWarm = 5 * time.Second

// target is a range of keys to watch; an empty key means none. Of a predecessor only the end is of interest: whether
// it comes again, as it will under contention, is not.
type target struct {
	key, end string
	deletes  bool
}

// wanted says what the line needs to see.
func (l *Line) wanted() target {
	p := l.place
	if p == nil || p.state == asked || p.leaving {
		return target{}
	}
	whole := l.whole()
	switch {
	case p.state == queued && l.queue.Len() == 0:
		return target{}
	case p.state == queued && l.short(p):
		return whole
	case p.state == queued:
		return target{key: p.pred.Key, deletes: l.rule.Joins == nil} // a reader also waits for a writer to become a reader
	case len(l.holds) == 0 && l.queue.Len() == 0: // lingering: does anybody else want it?
		return whole
	case l.queue.Len() > 0 && (l.short(p) || l.rule.Joins != nil): // may it be handed on here, or shared?
		return whole
	case p.old: // does it still stand?
		return target{key: p.key}
	}
	return target{}
}

// whole is all of the line, or all that anybody may leave.
func (l *Line) whole() target {
	if !l.rule.Departures {
		return target{key: l.prefix, end: l.end}
	}
	entries := l.prefix + l.rule.Dir
	return target{key: entries, end: clientv3.GetPrefixRangeEnd(entries), deletes: true}
}

// short says whether the line is watched as a whole, with some reluctance to change.
func (l *Line) short(p *place) bool {
	if l.careful || l.rule.Whole { // it has to see how those before it end, or who is behind
		return true
	}
	if !p.alone && p.pred.Key != "" { // others than it matter
		return true
	}
	if l.rule.Values && l.rule.Alone == nil { // it was told whom to wait for when it joined
		return false
	}
	if v := l.view; v != nil && v.end != "" && v.ready {
		return len(v.entries) <= 2*shortLine
	}
	return !p.long && p.count > 0 && p.count <= shortLine
}

// adjustView watches what is wanted, and keeps for a while what is not wanted at the moment.
func (l *Line) adjustView() {
	t, v := l.wanted(), l.view
	l.adjustSide(t)
	if v != nil && t.key == "" {
		l.cool()
		return
	}
	if v != nil && v.shows(t) {
		l.cooling = false
		return
	}
	if t.key == "" || time.Now().Before(l.viewAfter) {
		return
	}
	l.cooling = false
	l.openView(t)
}

// shows says whether v does for t. A view of a whole line also does for one of its keys, unless it is a long line.
func (v *view) shows(t target) bool {
	if t.end != "" || v.end == "" {
		return t == v.target
	}
	return t.key >= v.key && t.key < v.end && len(v.entries) <= 2*shortLine && (t.deletes || !v.deletes)
}

// cool closes the view unless it is wanted again soon.
func (l *Line) cool() {
	if l.cooling {
		return
	}
	l.cooling = true
	if l.warm != nil {
		l.warm.Reset(keepWarm)
		return
	}
	l.warm = time.AfterFunc(keepWarm, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.cooling {
			l.cooling = false
			l.closeView()
			l.closeSide()
			l.retire()
		}
	})
}

// changed is called when the view knows more than before.
func (l *Line) changed() {
	p, v := l.place, l.view
	if p == nil || v == nil || !v.ready || p.state == asked || p.gone || p.leaving {
		return
	}
	switch {
	case !v.tells(p.entry):
		p.check = p.check || p.state == queued
	case v.end != "" && l.yields(p):
		l.broken()
	case v.end != "":
		switch verdict, _ := l.rule.judge(v.rev, v.entries, p.entry); verdict {
		case gone:
			l.vanished(p)
		case granted:
			if p.state == queued {
				l.enter(p)
			}
		case blocked:
			l.refuseHopeless()
			p.check = p.check || p.pred.Key == "" && !l.short(p) // whom to watch from here on?
		}
		p.long = len(v.entries) > 2*shortLine
	case v.key == p.key && !v.deletes && v.rev >= p.entry.Create:
		if e, ok := v.find(p.key); !ok || !same(e, p.entry) {
			l.vanished(p)
		}
	case v.key == p.pred.Key && p.state == queued && v.rev >= p.entry.Create:
		if e, ok := v.find(v.key); !ok || e.Create != p.pred.Create || l.rule.Blocker([]Entry{e}) < 0 {
			p.check = true
		}
	}
	l.proceed()
}

// yields says whether p should go to the back of the line. If it does, that is for the one who lent it to do.
func (l *Line) yields(p *place) bool {
	return l.rule.Yields != nil && p.uses == 0 && l.view.rev >= p.entry.Create && l.rule.Yields(l.view.entries, p.entry)
}

// vanished is called when p's entry does not stand in etcd any more. A waiter has only lost its place. For a holder
// the cause matters: was the entry deleted, or its lease revoked? A renewal tells; it gets little time, since the
// name may be somebody else's already.
func (l *Line) vanished(p *place) {
	switch {
	case p.state == first:
	case l.lent:
		l.vacate(p)
		return
	default: // a watch may be wrong: what it does not show is deleted before it is forgotten
		p.leaving = true
		return
	}
	p.gone = true
	l.keeper.Go(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, 250*time.Millisecond)
		defer cancel()
		cause := p.epoch.Renew(ctx)
		l.mu.Lock()
		defer l.mu.Unlock()
		if !errors.Is(cause, keeper.ErrLost) {
			cause = keeper.ErrEntryGone
		}
		l.lose(p, cause)
		l.proceed()
	})
}
